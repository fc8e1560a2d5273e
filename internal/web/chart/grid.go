package chart

import (
	"html/template"
	"strings"
)

// Table is a table of texts with a row for each thing.
type Table struct {
	ID    string `json:"-"`
	Title string `json:"title"`
	// Columns are the heads; one whose name begins with "#" holds numbers and is aligned as such.
	Columns []string `json:"columns"`
	Rows    []Row    `json:"rows"`
	Empty   string   `json:"-"`
}

// Row is a row of a Table. A link leads from its first cell.
type Row struct {
	Cells []string `json:"cells"`
	Link  string   `json:"link,omitempty"`
}

// HTML draws the table.
func (t Table) HTML() template.HTML {
	m := &markup{}
	m.add(`<figure class="chart grid-table"`)
	m.attr("id", t.ID)
	m.add(`><figcaption class="chart-head"><span class="chart-title">`)
	m.text(t.Title)
	m.add("</span></figcaption>")
	if len(t.Rows) == 0 {
		m.add(`<p class="chart-empty">`)
		m.text(cmpOr(t.Empty, "Nothing here."))
		m.add("</p></figure>")
		return m.html()
	}
	m.add(`<div class="scroll"><table class="list"><thead><tr>`)
	for i, c := range t.Columns {
		m.add(`<th scope="col"`, t.class(i), ">")
		m.text(strings.TrimPrefix(c, "#"))
		m.add("</th>")
	}
	m.add("</tr></thead><tbody>")
	for _, r := range t.Rows {
		t.row(m, r)
	}
	m.add("</tbody></table></div></figure>")
	return m.html()
}

func (t Table) class(column int) string {
	if column < len(t.Columns) && strings.HasPrefix(t.Columns[column], "#") {
		return ` class="number"`
	}
	return ""
}

// row writes a row. Only addresses of the portal itself become a link.
func (t Table) row(m *markup, r Row) {
	m.add("<tr>")
	for i, c := range r.Cells {
		m.add("<td", t.class(i), ">")
		linked := i == 0 && strings.HasPrefix(r.Link, "/") && !strings.HasPrefix(r.Link, "//")
		if linked {
			m.add("<a")
			m.attr("href", r.Link)
			m.add(">")
		}
		m.text(c)
		if linked {
			m.add("</a>")
		}
		m.add("</td>")
	}
	m.add("</tr>")
}
