package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRange bounds how many numbers a range such as "1-5" stands for.
const maxRange = 1 << 16

// Input is where a trigger's values come from.
type Input struct {
	// Metadata is the trigger's metadata as written.
	Metadata map[string]string
	// Env is the environment of the scale target's container.
	Env map[string]string
	// Auth holds the parameters of the TriggerAuthentication.
	Auth map[string]string
}

// Values are a scaler's parameters after defaults. Asking for a name that the scaler does not have is a mistake of the
// program and gives the zero value.
type Values struct {
	fields map[string]Field
	values map[string]string
	given  map[string]bool
	// Notes tell of parameters that are deprecated, in words.
	Notes []string
	// Unknown lists metadata that the scaler does not read, in order.
	Unknown []string
}

// Resolve reads the parameters of one type of scaler. The errors name each parameter that is missing or wrong and what
// it should be; they never quote a value that came from the environment or a TriggerAuthentication.
func Resolve(name string, in Input) (Values, error) {
	fields, ok := Fields(name)
	if !ok {
		return Values{}, fmt.Errorf("KEDA has no trigger type %q; look for a misspelling", name)
	}
	return ResolveFields(fields, in)
}

// ResolveFields reads the given parameters by the same rules.
func ResolveFields(fields []Field, in Input) (Values, error) {
	v := Values{fields: map[string]Field{}, values: map[string]string{}, given: map[string]bool{}}
	var problems []error
	for _, field := range fields {
		problems = append(problems, v.take(field, in))
	}
	v.Unknown = unknown(fields, in.Metadata)
	return v, errors.Join(problems...)
}

// take resolves one field. The first of two fields of the same name counts.
func (v *Values) take(field Field, in Input) error {
	value, secret, found := in.find(field)
	if found && field.Removed != "" {
		return fmt.Errorf("%s is no longer read: %s", field.name(), field.Removed)
	}
	if found && field.Deprecated != "" {
		v.Notes = append(v.Notes, fmt.Sprintf("%s: %s", field.name(), field.Deprecated))
	}
	given := found
	if !found && field.Default != "" {
		value, found = field.Default, true
	}
	if !found {
		return field.absent()
	}
	if err := field.check(value); err != nil {
		if secret {
			return fmt.Errorf("%s has a value that is not %s", field.name(), field.expects())
		}
		return fmt.Errorf("%s %w", field.name(), err)
	}
	for _, name := range field.Names {
		if _, taken := v.fields[name]; !taken {
			v.fields[name], v.values[name], v.given[name] = field, value, given
		}
	}
	return nil
}

func (f Field) absent() error {
	if f.Optional || f.Removed != "" {
		return nil
	}
	return fmt.Errorf("%s is missing: set it in %s", f.name(), f.places())
}

// name is the field's name in quotes, the preferred one first.
func (f Field) name() string {
	quoted := make([]string, len(f.Names))
	for i, name := range f.Names {
		quoted[i] = strconv.Quote(name)
	}
	return strings.Join(quoted, " or ")
}

func (f Field) places() string {
	var places []string
	for _, source := range f.From {
		switch source {
		case 'm':
			places = append(places, "the trigger's metadata")
		case 'e':
			places = append(places, fmt.Sprintf("the container's environment with %q in the metadata", f.Names[0]+"FromEnv"))
		case 'a':
			places = append(places, "the TriggerAuthentication")
		}
	}
	return strings.Join(places, " or ")
}

// find looks for a field's value; blanks count as absent.
func (in Input) find(f Field) (value string, secret, found bool) {
	for _, source := range f.From {
		for _, name := range f.Names {
			switch source {
			case 'm':
				value = in.Metadata[name]
			case 'e':
				value = in.Env[in.Metadata[name+"FromEnv"]]
			case 'a':
				value = in.Auth[name]
			}
			if value = strings.TrimSpace(value); value != "" {
				return value, source != 'm', true
			}
		}
	}
	return "", false, false
}

// unknown lists metadata that no field reads.
func unknown(fields []Field, metadata map[string]string) []string {
	known := map[string]bool{}
	for _, f := range fields {
		for _, name := range f.Names {
			known[name] = known[name] || strings.Contains(f.From, "m")
			known[name+"FromEnv"] = known[name+"FromEnv"] || strings.Contains(f.From, "e")
		}
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		if !known[name] {
			names = append(names, name)
		}
	}
	return names
}

// check says what is wrong with a value.
func (f Field) check(value string) error {
	exclusive := 0
	for _, element := range f.split(value) {
		if len(f.Allowed) > 0 && !slices.Contains(f.Allowed, element) {
			return fmt.Errorf("is %q; it must be one of %s", value, strings.Join(f.Allowed, ", "))
		}
		if slices.Contains(f.Exclusive, element) {
			exclusive++
		}
	}
	if exclusive > 1 {
		return fmt.Errorf("is %q; it may have only one of %s", value, strings.Join(f.Exclusive, ", "))
	}
	if f.parses(value) {
		return nil
	}
	return fmt.Errorf("is %q; it must be %s", value, f.expects())
}

// parses reports whether a value can be read as the field's kind.
func (f Field) parses(value string) bool {
	switch f.Kind {
	case Int:
		return json.Unmarshal([]byte(value), new(int64)) == nil
	case Uint:
		return json.Unmarshal([]byte(value), new(uint64)) == nil
	case Float:
		return json.Unmarshal([]byte(value), new(float64)) == nil
	case Bool:
		_, err := strconv.ParseBool(value)
		return err == nil
	case Duration:
		_, err := parseDuration(value)
		return err == nil
	case Ints:
		_, err := f.parseInts(value)
		return err == nil
	case Map:
		_, err := f.parseMap(value)
		return err == nil
	case Query:
		_, err := url.ParseQuery(value)
		return err == nil
	}
	return true
}

func (f Field) expects() string {
	if len(f.Allowed) > 0 {
		return "one of " + strings.Join(f.Allowed, ", ")
	}
	switch f.Kind {
	case Int:
		return "a whole number"
	case Uint:
		return "a whole number of 0 or more"
	case Float:
		return "a number"
	case Bool:
		return "true or false"
	case Duration:
		return `a duration such as "30s", or a number of milliseconds`
	case Ints:
		return "whole numbers separated by commas"
	case Map:
		return "pairs such as a=1,b=2"
	case Query:
		return "pairs such as a=1&b=2"
	}
	return "valid"
}

func (f Field) split(value string) []string {
	separator := f.Separator
	if separator == "" {
		separator = ","
	}
	elements := strings.Split(value, separator)
	for i := range elements {
		elements[i] = strings.TrimSpace(elements[i])
	}
	return elements
}

func (f Field) parseInts(value string) ([]int64, error) {
	var numbers []int64
	for _, element := range f.split(value) {
		first, last, isRange := strings.Cut(element, f.Range)
		if f.Range == "" || !isRange {
			first, last = element, element
		}
		from, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
		if err != nil {
			return nil, err
		}
		to, err := strconv.ParseInt(strings.TrimSpace(last), 10, 64)
		if err != nil {
			return nil, err
		}
		if to-from >= maxRange {
			return nil, fmt.Errorf("a range of more than %d numbers", maxRange)
		}
		for n := from; n <= to; n++ {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

func (f Field) parseMap(value string) (map[string]string, error) {
	pairs := map[string]string{}
	for _, element := range f.split(value) {
		parts := strings.Split(element, "=")
		if len(parts) != 2 {
			return nil, fmt.Errorf("%q is no pair", element)
		}
		pairs[strings.TrimSpace(parts[0])] = strings.TrimSpace(parts[1])
	}
	return pairs, nil
}

func parseDuration(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil {
		var milliseconds int64
		if milliseconds, err = strconv.ParseInt(value, 10, 64); err != nil {
			return 0, err
		}
		d = time.Duration(milliseconds) * time.Millisecond
	}
	if d < 0 {
		return 0, errors.New("negative")
	}
	return d, nil
}

// Given reports whether a value was written, rather than taken from a default.
func (v Values) Given(name string) bool { return v.given[name] }

// Text is the value as written; empty if absent.
func (v Values) Text(name string) string { return v.values[name] }

// Int is a whole number; 0 if absent.
func (v Values) Int(name string) int64 { return read[int64](v, name) }

// Float is a number; 0 if absent.
func (v Values) Float(name string) float64 { return read[float64](v, name) }

// Bool is a switch; false if absent.
func (v Values) Bool(name string) bool {
	value, err := strconv.ParseBool(v.values[name])
	return err == nil && value
}

// Duration is a span of time; 0 if absent.
func (v Values) Duration(name string) time.Duration {
	value, err := parseDuration(v.values[name])
	if err != nil {
		return 0
	}
	return value
}

// List holds the elements of a list; nil if absent.
func (v Values) List(name string) []string {
	if v.values[name] == "" {
		return nil
	}
	return v.fields[name].split(v.values[name])
}

// Map holds the pairs of a map; nil if absent.
func (v Values) Map(name string) map[string]string {
	value, err := v.fields[name].parseMap(v.values[name])
	if err != nil {
		return nil
	}
	return value
}

// Query holds the pairs of a query; nil if absent.
func (v Values) Query(name string) url.Values {
	value, err := url.ParseQuery(v.values[name])
	if err != nil || len(value) == 0 {
		return nil
	}
	return value
}

// read takes a number that was checked when it was resolved.
func read[T int64 | float64](v Values, name string) T {
	var value T
	if err := json.Unmarshal([]byte(v.values[name]), &value); err != nil {
		return 0
	}
	return value
}

// Choice reports whether a parameter chooses between options, so that its value is no secret.
func (v Values) Choice(name string) bool {
	f, ok := v.fields[name]
	return ok && (len(f.Allowed) > 0 || f.Kind == Bool || name == "tls" || name == "protocol")
}

// Numbers reads "1,2,10-12" as a set; nil if empty.
func Numbers(text string) (map[int32]bool, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	numbers, err := Field{Kind: Ints, Range: "-"}.parseInts(text)
	if err != nil {
		return nil, err
	}
	set := make(map[int32]bool, len(numbers))
	for _, n := range numbers {
		if n != int64(int32(n)) {
			return nil, fmt.Errorf("%d is too large", n)
		}
		set[int32(n)] = true
	}
	return set, nil
}
