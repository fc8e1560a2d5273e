package chart

import (
	"fmt"
	"html"
	"html/template"
	"strconv"
	"strings"
)

// markup builds HTML. Texts and attributes are escaped by text and attr; everything else is written by this package.
type markup struct{ strings.Builder }

func (m *markup) add(parts ...string) {
	for _, p := range parts {
		m.WriteString(p)
	}
}

func (m *markup) addf(format string, args ...any) { fmt.Fprintf(m, format, args...) }

func (m *markup) text(s string) { m.WriteString(html.EscapeString(s)) }

// attr writes an attribute with a space before it.
func (m *markup) attr(name, value string) { m.add(" ", name, `="`, html.EscapeString(value), `"`) }

func (m *markup) html() template.HTML { return template.HTML(m.String()) }

// percent is a position as SVG attributes take it.
func percent(part float64) string {
	if !isValue(part) {
		part = 0
	}
	return strconv.FormatFloat(100*min(max(part, 0), 1), 'f', 2, 64) + "%"
}

// title writes the name and the sentence of a drawing.
func (m *markup) title(id, title, desc string) {
	m.add("<title")
	m.attr("id", id+"-t")
	m.add(">")
	m.text(title)
	m.add("</title><desc")
	m.attr("id", id+"-d")
	m.add(">")
	m.text(desc)
	m.add("</desc>")
}

// labelled writes the attributes that lead to what title wrote.
func (m *markup) labelled(id string) {
	m.add(` role="img"`)
	m.attr("aria-labelledby", id+"-t")
	m.attr("aria-describedby", id+"-d")
}
