package trigger

import (
	"errors"
	"fmt"
	"slices"
)

// Judgement says what becomes of a trigger's configuration.
type Judgement struct {
	// Err is why the trigger cannot run: nil when it can, ErrNotBuiltIn when only the source is missing.
	Err error
	// Notes tell of metadata that is deprecated or not read, one sentence each.
	Notes []string
}

// Accepted reports whether the configuration is right, built in or not: the verdict KEDA gives.
func (j Judgement) Accepted() bool { return j.Err == nil || errors.Is(j.Err, ErrNotBuiltIn) }

// Verdict judges a trigger without connecting to anything.
func Verdict(c Config) Judgement {
	b, ok := find(c.Type)
	if !ok {
		return c.foreign()
	}
	source, err := b.new(c)
	if err != nil {
		return Judgement{Err: c.refused(err)}
	}
	if err := source.Close(); err != nil {
		return Judgement{Err: c.refused(err)}
	}
	return Judgement{Notes: c.notes(b.also)}
}

// refused says which trigger an error is about.
func (c Config) refused(err error) error {
	return fmt.Errorf("trigger %d (%s): %w", c.Index, c.Type, err)
}

// foreign judges a type that has no source here.
func (c Config) foreign() Judgement {
	v, err := c.values()
	if err == nil {
		// None of these types measures a share of what pods reserve.
		_, err = c.metric(c.Type, "target", 1)
	}
	if err == nil {
		err = fmt.Errorf("trigger type %q of KEDA is %w; serve it through an external scaler (type external), "+
			"or read the same number with the prometheus or metrics-api trigger", c.Type, ErrNotBuiltIn)
	}
	return Judgement{Err: c.secrets(v).scrub(c.refused(err))}
}

// notes names metadata that changes nothing or should be written in another way.
func (c Config) notes(also []string) []string {
	v, err := c.values()
	if err != nil {
		return nil
	}
	notes := v.Notes
	for _, name := range v.Unknown {
		if slices.Contains(also, "*") || slices.Contains(also, name) {
			continue
		}
		notes = append(notes, fmt.Sprintf("%q is not read by the %s trigger; remove it, or look for a misspelling", name, c.Type))
	}
	return notes
}
