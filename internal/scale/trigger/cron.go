package trigger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// cronName replaces what a schedule holds and a metric's name must not, as KEDA does.
var cronName = strings.NewReplacer(" ", "", "*", "x", "/", "Sl", "?", "Qm", ",", "Cm")

// newCron asks for a number of replicas between two times of each day, week or month.
func newCron(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	window, err := parseWindow(v.Text("start"), v.Text("end"), v.Text("timezone"))
	if err != nil {
		return nil, err
	}
	replicas := float64(v.Int("desiredReplicas"))
	if replicas == 0 {
		return nil, errors.New(`"desiredReplicas" is 0; it must be above 0`)
	}
	name := fmt.Sprintf("cron-%s-%s-%s", v.Text("timezone"), cronName.Replace(v.Text("start")), cronName.Replace(v.Text("end")))
	metric, err := c.metric(name, "desiredReplicas", 1)
	if err != nil {
		return nil, err
	}
	p := c.probe(metric, v)
	p.ask = func(ctx context.Context) (sample, error) {
		if window.open(p.now()) {
			return sample{value: replicas, active: true}, ctx.Err()
		}
		return sample{}, ctx.Err()
	}
	return p, nil
}

// window is a time span that comes again and again.
type window struct {
	start, end cron.Schedule
	place      *time.Location
}

func parseWindow(start, end, zone string) (window, error) {
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	from, err := parser.Parse(start)
	if err != nil {
		return window{}, fmt.Errorf(`"start" is no schedule such as "0 8 * * *": %w`, err)
	}
	to, err := parser.Parse(end)
	if err != nil {
		return window{}, fmt.Errorf(`"end" is no schedule such as "0 18 * * *": %w`, err)
	}
	if start == end {
		return window{}, errors.New(`"start" and "end" are the same; end later than start`)
	}
	place, err := time.LoadLocation(zone)
	if err != nil {
		return window{}, fmt.Errorf(`"timezone" is %q; use a name such as "Europe/Paris": %w`, zone, err)
	}
	return window{from, to, place}, nil
}

// open reports whether a time is in the window: its end comes before its next start.
func (w window) open(now time.Time) bool {
	now = now.In(w.place)
	return !w.start.Next(now).Before(w.end.Next(now))
}
