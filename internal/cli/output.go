package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// format is the value of -o.
type format string

// bind adds -o with the given values; the first one is what an absent flag stands for, written as "".
func (f *format) bind(c *cobra.Command, values ...string) {
	c.Flags().VarP(&formatValue{f, values}, "output", "o", "output: "+strings.Join(values, ", "))
	must(c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(toCompletions(values), cobra.ShellCompDirectiveNoFileComp)))
}

func toCompletions(values []string) []cobra.Completion { return slices.Clone(values) }

// formatValue refuses values that a command does not have, as a mistake in its use.
type formatValue struct {
	f      *format
	values []string
}

func (v *formatValue) String() string {
	if v.f == nil {
		return ""
	}
	return string(*v.f)
}

func (v *formatValue) Type() string { return "format" }

func (v *formatValue) Set(s string) error {
	if !slices.Contains(v.values, s) {
		return fmt.Errorf("want one of %s", strings.Join(v.values, ", "))
	}
	*v.f = format(s)
	return nil
}

// write prints v as JSON or YAML, or calls people to print it for people.
func (f format) write(w io.Writer, v any, people func(wide bool)) error {
	switch f {
	case "json":
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("encoding the answer: %w", err)
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	case "yaml":
		b, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("encoding the answer: %w", err)
		}
		_, err = w.Write(b)
		return err
	}
	people(f == "wide")
	return nil
}

// table is what people read: columns as wide as their widest cell. Colour codes have no width here, which is why it is
// not text/tabwriter.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) {
	rows := append([][]string{t.header}, t.rows...)
	widths := make([]int, len(t.header))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], visible(c))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, c := range r {
			b.WriteString(c)
			b.WriteString(strings.Repeat(" ", widths[i]-visible(c)+3))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

var colourCode = regexp.MustCompile("\x1b\\[[0-9;]*m")

// visible is the width of s on a terminal.
func visible(s string) int { return utf8.RuneCountInString(colourCode.ReplaceAllString(s, "")) }

// paint colours words when it is true.
type paint bool

func (p paint) with(code, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p paint) bold(s string) string   { return p.with("1", s) }
func (p paint) faint(s string) string  { return p.with("2", s) }
func (p paint) red(s string) string    { return p.with("31", s) }
func (p paint) green(s string) string  { return p.with("32", s) }
func (p paint) yellow(s string) string { return p.with("33", s) }

// paint says whether to colour what goes to w: on a terminal that can, unless NO_COLOR (no-color.org) is set.
func (e *env) paint(w io.Writer) paint {
	return paint(isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

// isTerminal says whether a person looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// clean takes what a server sent, such as a message, to one line without control characters: a terminal obeys those.
func clean(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) }), " ")
}
