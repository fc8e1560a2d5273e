package hours

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // time zones, on machines and in images that have none
)

// Spec is a set of times, such as "Mon-Fri 07:30-20:30 Europe/Berlin". The zero Spec holds none.
type Spec struct {
	text  string
	spans []span
}

// span is one of the ranges of a Spec.
type span interface {
	contains(t time.Time) bool
	// edges adds the moments near which contains may change, at least all those of the eight days from t.
	edges(t time.Time, to []time.Time) []time.Time
}

const (
	maxSpec  = 4096 // bytes
	maxSpans = 64
)

// Always and Never are the words for all times and none.
const (
	Always = "always"
	Never  = "never"
)

// ParseSpec reads a list of ranges with commas between them, "always" or "never". A range is either weekly, as in
// "Mon-Fri 07:30-20:30 Europe/Berlin", or absolute, as in "2026-12-24T00:00:00+01:00-2027-01-02T00:00:00+01:00". A range
// holds its beginning and not its end, which may be 24:00.
func ParseSpec(s string) (Spec, error) {
	if len(s) > maxSpec {
		return Spec{}, fmt.Errorf("it has %d bytes, and at most %d are read", len(s), maxSpec)
	}
	spec := Spec{text: strings.TrimSpace(s)}
	switch strings.ToLower(spec.text) {
	case Always:
		spec.spans = []span{everything{}}
		return spec, nil
	case Never:
		return spec, nil
	}
	items := strings.Split(spec.text, ",")
	if len(items) > maxSpans {
		return Spec{}, fmt.Errorf("it has %d ranges, and at most %d are read", len(items), maxSpans)
	}
	for _, item := range items {
		one, err := parseSpan(strings.TrimSpace(item))
		if err != nil {
			return Spec{}, err
		}
		spec.spans = append(spec.spans, one)
	}
	return spec, nil
}

// String is the text it was read from.
func (s Spec) String() string { return s.text }

// Contains says whether t is one of the times.
func (s Spec) Contains(t time.Time) bool {
	return slices.ContainsFunc(s.spans, func(one span) bool { return one.contains(t) })
}

// edges are moments after t, in order, between which Contains does not change, for eight days at least.
func (s Spec) edges(t time.Time) []time.Time {
	var out []time.Time
	for _, one := range s.spans {
		out = one.edges(t, out)
	}
	return out
}

type everything struct{}

func (everything) contains(time.Time) bool                       { return true }
func (everything) edges(_ time.Time, to []time.Time) []time.Time { return to }

var errForm = errors.New(`want "always", "never", "Mon-Fri 07:30-20:30 Europe/Berlin" or ` +
	`"2026-12-24T00:00:00+01:00-2027-01-02T00:00:00+01:00", several with commas between`)

func parseSpan(s string) (span, error) {
	if s == "" {
		return nil, fmt.Errorf("a range is empty: %w", errForm)
	}
	if s[0] >= '0' && s[0] <= '9' {
		return parseAbsolute(s)
	}
	return parseWeekly(s)
}

// absolute is a range between two moments.
type absolute struct{ from, to time.Time }

func (a absolute) contains(t time.Time) bool { return !t.Before(a.from) && t.Before(a.to) }

func (a absolute) edges(_ time.Time, to []time.Time) []time.Time { return append(to, a.from, a.to) }

// isoLayout is the only form of a moment: with seconds and an offset from UTC.
const (
	isoLayout = "2006-01-02T15:04:05-07:00"
	isoLength = len("2026-12-24T00:00:00+01:00")
)

func parseAbsolute(s string) (span, error) {
	if len(s) < 2*isoLength+1 {
		return nil, fmt.Errorf("range %q: %w", s, errForm)
	}
	first, rest := s[:isoLength], s[isoLength:]
	second := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(rest), "-"))
	if !strings.HasPrefix(strings.TrimSpace(rest), "-") {
		return nil, fmt.Errorf("range %q: %w", s, errForm)
	}
	from, err := time.Parse(isoLayout, first)
	if err != nil {
		return nil, fmt.Errorf("range %q: %q is no moment such as 2026-12-24T00:00:00+01:00", s, first)
	}
	to, err := time.Parse(isoLayout, second)
	if err != nil {
		return nil, fmt.Errorf("range %q: %q is no moment such as 2026-12-24T00:00:00+01:00", s, second)
	}
	if !from.Before(to) {
		return nil, fmt.Errorf("range %q ends before it begins", s)
	}
	return absolute{from, to}, nil
}

// weekly is a range of minutes of the day, on some days of the week, in one time zone.
type weekly struct {
	// first and last are the days, Monday 0 to Sunday 6. last may be before first, as in Sat-Mon.
	first, last int
	// from and to are minutes of the day, to at most 24:00.
	from, to int
	zone     *time.Location
}

var weekdays = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

func parseWeekly(s string) (span, error) {
	fields := strings.Fields(s)
	if len(fields) != 3 {
		return nil, fmt.Errorf("range %q: %w", s, errForm)
	}
	w := weekly{}
	var err error
	if w.first, w.last, err = parseDays(fields[0]); err != nil {
		return nil, fmt.Errorf("range %q: %w", s, err)
	}
	if w.from, w.to, err = parseMinutes(fields[1]); err != nil {
		return nil, fmt.Errorf("range %q: %w", s, err)
	}
	if w.zone, err = parseZone(fields[2]); err != nil {
		return nil, fmt.Errorf("range %q: %w", s, err)
	}
	return w, nil
}

func parseDays(s string) (first, last int, err error) {
	a, b, ok := strings.Cut(strings.ToLower(s), "-")
	first, last = slices.Index(weekdays, a), slices.Index(weekdays, b)
	if !ok || first < 0 || last < 0 {
		return 0, 0, fmt.Errorf("%q are no days such as Mon-Fri, or Sat-Sat for one day", s)
	}
	return first, last, nil
}

func parseMinutes(s string) (from, to int, err error) {
	a, b, ok := strings.Cut(s, "-")
	from, okFrom := minute(a)
	to, okTo := minute(b)
	if !ok || !okFrom || !okTo || from == 24*60 {
		return 0, 0, fmt.Errorf("%q are no times of day such as 07:30-20:30", s)
	}
	if from >= to {
		return 0, 0, fmt.Errorf("%s ends before it begins: write two ranges, one that ends at 24:00 and one that begins at 00:00", s)
	}
	return from, to, nil
}

// minute is the minute of the day of "HH:MM", 24:00 included.
func minute(s string) (int, bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	for _, i := range []int{0, 1, 3, 4} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	h, m := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
	return h*60 + m, m < 60 && h*60+m <= 24*60
}

func parseZone(s string) (*time.Location, error) {
	zone, err := time.LoadLocation(s)
	if err != nil || s == "Local" {
		return nil, fmt.Errorf("%q is no time zone such as Europe/Berlin or UTC", s)
	}
	return zone, nil
}

func (w weekly) contains(t time.Time) bool {
	t = t.In(w.zone)
	day := (int(t.Weekday()) + 6) % 7
	on := w.first <= day && day <= w.last
	if w.last < w.first {
		on = day >= w.first || day <= w.last
	}
	now := t.Hour()*60 + t.Minute()
	return on && w.from <= now && now < w.to
}

// shifts are how far a wall clock's time may be from where time.Date puts it when clocks are changed: a time may come
// twice, or not at all. Zones change by an hour, Lord Howe Island by half of one.
var shifts = []time.Duration{-time.Hour, -30 * time.Minute, 0, 30 * time.Minute, time.Hour}

func (w weekly) edges(t time.Time, to []time.Time) []time.Time {
	local := t.In(w.zone)
	year, month, day := local.Date()
	for ahead := -1; ahead <= 8; ahead++ {
		for _, m := range []int{w.from, w.to} {
			at := time.Date(year, month, day+ahead, 0, m, 0, 0, w.zone)
			for _, shift := range shifts {
				to = append(to, at.Add(shift))
			}
		}
	}
	for range 2 {
		_, change := local.ZoneBounds()
		if change.IsZero() {
			break
		}
		to = append(to, change)
		local = change
	}
	return to
}
