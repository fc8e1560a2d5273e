package hours

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func moment(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestSpecContains(t *testing.T) {
	for _, c := range []struct {
		name, spec, in, out string // RFC 3339, several with spaces
	}{
		{"always", "Always", "2026-03-01T00:00:00Z", ""},
		{"never", "NEVER", "", "2026-03-01T00:00:00Z"},
		{
			"working days in Berlin, winter", "Mon-Fri 07:30-20:30 Europe/Berlin",
			"2026-01-05T06:30:00Z 2026-01-09T19:29:59Z", "2026-01-05T06:29:59Z 2026-01-09T19:30:00Z 2026-01-10T12:00:00Z",
		},
		{"in summer an hour earlier", "mon-fri 07:30-20:30 Europe/Berlin", "2026-07-06T05:30:00Z", "2026-07-06T18:30:00Z"},
		{"one day, to its end", "Sat-Sat 00:00-24:00 UTC", "2026-03-07T00:00:00Z 2026-03-07T23:59:59Z", "2026-03-06T23:59:59Z 2026-03-08T00:00:00Z"},
		{"a week that begins on Sunday", "Sun-Thu 08:00-18:00 UTC", "2026-03-01T08:00:00Z 2026-03-05T09:00:00Z", "2026-03-06T09:00:00Z 2026-03-07T09:00:00Z"},
		{
			"absolute", "2026-12-24T00:00:00+01:00-2027-01-02T00:00:00+01:00",
			"2026-12-23T23:00:00Z 2027-01-01T22:59:59Z", "2026-12-23T22:59:59Z 2027-01-01T23:00:00Z",
		},
		{"absolute as the fork writes it", "2026-12-24T00:00:00+01:00 - 2027-01-02T00:00:00+01:00", "2026-12-25T00:00:00Z", "2026-12-23T22:59:59Z"},
		{
			"a list", "Sat-Sun 00:00-24:00 CET, Fri-Fri 20:00-24:00 CET",
			"2026-01-10T12:00:00Z 2026-01-09T19:00:00Z", "2026-01-09T18:59:59Z 2026-01-11T23:00:00Z",
		},
		{"a time zone with a sign", "Mon-Sun 00:00-12:00 Etc/GMT-3", "2026-01-05T08:59:00Z", "2026-01-05T09:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec, err := ParseSpec(c.spec)
			if err != nil {
				t.Fatal(err)
			}
			for at := range strings.FieldsSeq(c.in) {
				if !spec.Contains(moment(t, at)) {
					t.Errorf("%s is not in", at)
				}
			}
			for at := range strings.FieldsSeq(c.out) {
				if spec.Contains(moment(t, at)) {
					t.Errorf("%s is in", at)
				}
			}
		})
	}
}

func TestSpecRefuses(t *testing.T) {
	for spec, want := range map[string]string{
		"":                                                    "a range is empty",
		"Mon-Fri 07:30-20:30":                                 `range "Mon-Fri 07:30-20:30": want "always"`,
		"Mon-Fri 07:30-20:30 Europe/Berlyn":                   `"Europe/Berlyn" is no time zone`,
		"Mon-Fri 07:30-20:30 Local":                           `"Local" is no time zone`,
		"Mon-Fri 07:30-20:30 ../etc/passwd":                   "is no time zone",
		"Mo-Fr 07:30-20:30 UTC":                               `"Mo-Fr" are no days such as Mon-Fri`,
		"Mon 07:30-20:30 UTC":                                 `"Mon" are no days such as Mon-Fri, or Sat-Sat for one day`,
		"Mon-Fri 7:30-20:30 UTC":                              `"7:30-20:30" are no times of day`,
		"Mon-Fri 07:30-24:30 UTC":                             "are no times of day",
		"Mon-Fri 07:60-20:30 UTC":                             "are no times of day",
		"Mon-Fri 24:00-24:00 UTC":                             "are no times of day",
		"Mon-Fri 22:00-06:00 UTC":                             "write two ranges, one that ends at 24:00",
		"Mon-Fri 08:00-08:00 UTC":                             "ends before it begins",
		"Mon-Fri 07:30-20:30 UTC,":                            "a range is empty",
		"2026-12-24T00:00:00+01:00-2026-12-24T00:00:00+01:00": "ends before it begins",
		"2026-12-24T00:00:00Z-2027-12-24T00:00:00Z":           "want \"always\"",
		"2026-13-24T00:00:00+01:00-2026-12-24T00:00:00+01:00": `"2026-13-24T00:00:00+01:00" is no moment`,
		strings.Repeat("Mon-Fri 07:30-20:30 UTC,", 65):        "at most 64",
		strings.Repeat("x", 5000):                             "at most 4096",
	} {
		if _, err := ParseSpec(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got %v, want it to say %q", spec, err, want)
		}
	}
}

// TestEdgesMissNothing looks at every minute of the weeks in which clocks are changed.
func TestEdgesMissNothing(t *testing.T) {
	for _, c := range []struct{ spec, from string }{
		{"Mon-Fri 07:30-20:30 Europe/Berlin", "2026-03-25T11:17:00Z"},
		{"Sun-Sun 02:30-03:15 Europe/Berlin", "2026-03-27T00:00:00Z"},
		{"Sun-Sun 01:30-02:30 Europe/Berlin,Sat-Mon 23:00-24:00 Europe/Berlin", "2026-10-23T00:00:00Z"},
		{"Mon-Sun 01:45-02:15 Australia/Lord_Howe", "2026-04-02T00:00:00Z"},
		{"Mon-Sun 00:00-01:00 America/Havana", "2026-03-06T00:00:00Z"},
	} {
		spec, err := ParseSpec(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		from := moment(t, c.from)
		edges := spec.edges(from)
		slices.SortFunc(edges, time.Time.Compare)
		was := spec.Contains(from)
		for at := from; at.Before(from.Add(8 * 24 * time.Hour)); at = at.Add(time.Minute) {
			is := spec.Contains(at)
			if is == was {
				continue
			}
			was = is
			if _, ok := slices.BinarySearchFunc(edges, at, time.Time.Compare); !ok {
				t.Errorf("%s: %s changes to %v and is no edge", c.spec, at, is)
			}
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{
		"always", "Mon-Fri 07:30-20:30 Europe/Berlin", "2026-12-24T00:00:00+01:00-2027-01-02T00:00:00+01:00",
		"Sat-Sun 00:00-24:00 CET,Fri-Fri 20:00-24:00 CET", "Mon-Fri 22:00-06:00 UTC", "0", "2026-12-24T00:00:00+01:00-",
	} {
		f.Add(s, int64(1772366400))
	}
	f.Fuzz(func(t *testing.T, s string, unix int64) {
		spec, err := ParseSpec(s)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without words")
			}
			return
		}
		again, err := ParseSpec(spec.String())
		at := time.Unix(unix%(1<<36), 0)
		if err != nil || again.Contains(at) != spec.Contains(at) {
			t.Errorf("%q is read differently from its own text: %v", s, err)
		}
		if n := len(spec.edges(at)); n > maxSpans*(10*2*len(shifts)+2) {
			t.Errorf("%q has %d edges", s, n)
		}
		settings := Settings{Uptime: &spec}
		now := settings.at(at)
		if next := settings.change(at, now); !next.IsZero() && (!next.After(at) || settings.at(next).up == now.up) {
			t.Errorf("%q: changes at %s, which is no change after %s", s, next, at)
		}
	})
}
