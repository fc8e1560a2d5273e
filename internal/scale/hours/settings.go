package hours

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The annotations of kube-downscaler.
const (
	prefix             = "downscaler/"
	annotationUptime   = prefix + "uptime"
	annotationDowntime = prefix + "downtime"
	annotationUpPeriod = prefix + "upscale-period"
	annotationDown     = prefix + "downscale-period"
	annotationForceUp  = prefix + "force-uptime"
	annotationForce    = prefix + "force-downtime"
	annotationExclude  = prefix + "exclude"
	annotationUntil    = prefix + "exclude-until"
	annotationReplicas = prefix + "downtime-replicas"
	annotationSame     = prefix + "downscale-replicas" // its name in newer versions of the fork
	annotationGrace    = prefix + "grace-period"
	annotationOriginal = prefix + "original-replicas"
)

// defaultGrace is how long a new workload stays up before its first downtime, as in kube-downscaler.
const defaultGrace = 15 * time.Minute

// Settings are what the annotations of a workload and of what is above it come to.
type Settings struct {
	// Uptime and Downtime: the workload is up during the one and not during the other. Nil: not said.
	Uptime, Downtime *Spec
	// UpPeriod and DownPeriod: the workload is brought up, or down, during these only and left alone otherwise. They
	// take the place of Uptime and Downtime.
	UpPeriod, DownPeriod *Spec
	// ForceUp and ForceDown come before all others.
	ForceUp, ForceDown *Spec
	// Exclude are the times at which the workload is not touched; any of them.
	Exclude []Spec
	// Until is when an exclusion ends; zero: none.
	Until time.Time
	// Replicas is how many are left when down.
	Replicas int32
	// ReplicasSaid says that an annotation gives Replicas.
	ReplicasSaid bool
	// Grace is how long a new workload stays up.
	Grace time.Duration
	// Said says that there is any annotation at all.
	Said bool
}

// ParseSettings reads annotations, those of the outermost object first: what an inner one says counts. It reports every
// annotation that cannot be read.
func ParseSettings(layers ...map[string]string) (Settings, error) {
	s := Settings{Grace: defaultGrace}
	var errs []error
	for _, layer := range layers {
		for _, key := range slices.Sorted(maps.Keys(layer)) {
			if !strings.HasPrefix(key, prefix) || key == annotationOriginal {
				continue
			}
			s.Said = true
			if err := s.read(key, strings.TrimSpace(layer[key])); err != nil {
				errs = append(errs, fmt.Errorf("annotation %q, value %q: %w", key, cut(layer[key]), err))
			}
		}
	}
	return s, errors.Join(errs...)
}

// cut shortens a value for a message.
func cut(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func (s *Settings) read(key, value string) error {
	switch key {
	case annotationUptime:
		return readSpec(&s.Uptime, value)
	case annotationDowntime:
		return readSpec(&s.Downtime, value)
	case annotationUpPeriod:
		return readSpec(&s.UpPeriod, value)
	case annotationDown:
		return readSpec(&s.DownPeriod, value)
	case annotationForceUp:
		return readSpec(&s.ForceUp, truth(value))
	case annotationForce:
		return readSpec(&s.ForceDown, truth(value))
	case annotationExclude:
		var spec *Spec
		if err := readSpec(&spec, truth(value)); err != nil {
			return err
		}
		s.Exclude = append(s.Exclude, *spec)
		return nil
	case annotationUntil:
		return s.readUntil(value)
	case annotationReplicas, annotationSame:
		return s.readReplicas(value)
	case annotationGrace:
		return s.readGrace(value)
	}
	return errors.New("it is not known here: remove it, or see docs/office-hours.md for those that are")
}

// truth makes a time spec of "true" and "false".
func truth(value string) string {
	switch strings.ToLower(value) {
	case "true":
		return Always
	case "false":
		return Never
	}
	return value
}

func readSpec(to **Spec, value string) error {
	spec, err := ParseSpec(value)
	if err != nil {
		return err
	}
	*to = &spec
	return nil
}

// untilLayouts are the forms of exclude-until, all in UTC, as kube-downscaler has them.
var untilLayouts = []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

func (s *Settings) readUntil(value string) error {
	for _, layout := range untilLayouts {
		if t, err := time.Parse(layout, value); err == nil {
			if t.After(s.Until) {
				s.Until = t
			}
			return nil
		}
	}
	return errors.New("want a moment such as 2026-12-24T18:00:00Z, 2026-12-24 18:00 or 2026-12-24, in UTC")
}

func (s *Settings) readReplicas(value string) error {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return errors.New("want a number of replicas, 0 or above")
	}
	s.Replicas, s.ReplicasSaid = int32(n), true
	return nil
}

// maxGrace keeps the sum of times in range.
const maxGrace = 365 * 24 * time.Hour

func (s *Settings) readGrace(value string) error {
	grace, err := time.ParseDuration(value)
	if seconds, e := strconv.ParseFloat(value, 64); e == nil {
		if math.IsNaN(seconds) || math.Abs(seconds) > maxGrace.Seconds() {
			seconds = -1
		}
		grace, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || grace < 0 || grace > maxGrace {
		return errors.New("want seconds, such as 900, or a duration, such as 15m, of at most a year")
	}
	s.Grace = grace
	return nil
}
