package chart

import (
	"time"
)

// mostRows is how many rows the table of a chart has at most.
const mostRows = 12

// table is the chart for those who rather read: the newest time first, each row the mean of its part.
func (l Lines) table(m *markup) {
	each := perRow(l.count())
	columns := make([]Values, len(l.Series))
	start, step, rows := l.Start, l.Step, 0
	m.add(`<details class="chart-table"><summary>As a table</summary><table class="list"><thead><tr><th scope="col">Time</th>`)
	for i, s := range l.Series {
		columns[i], start, step = Thin(s.Values, l.Start, l.Step, each, Mean)
		rows = max(rows, len(columns[i]))
		m.add(`<th scope="col" class="number">`)
		m.text(s.Name)
		m.add("</th>")
	}
	m.add("</tr></thead><tbody>")
	for i := rows - 1; i >= 0; i-- {
		m.add("<tr><td>")
		m.clock(start.Add(time.Duration(i) * step))
		m.add("</td>")
		for _, v := range columns {
			l.cell(m, v, i)
		}
		m.add("</tr>")
	}
	m.add("</tbody></table>")
	l.markList(m)
	m.add("</details>")
}

// perRow is how many points make a row.
func perRow(n int) int {
	for _, e := range []int{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600} {
		if (n+e-1)/e <= mostRows {
			return e
		}
	}
	return (n + mostRows - 1) / mostRows
}

func (l Lines) cell(m *markup, v Values, i int) {
	m.add(`<td class="number">`)
	if i < len(v) {
		m.text(l.Unit.Text(v[i]))
	} else {
		m.add(Absent)
	}
	m.add("</td>")
}

func (l Lines) markList(m *markup) {
	marks := l.shown()
	if len(marks) == 0 {
		return
	}
	m.add(`<ul class="chart-marks">`)
	for _, k := range marks {
		m.add("<li>")
		m.clock(k.At)
		m.add(" ")
		m.text(k.Text)
		m.add("</li>")
	}
	m.add("</ul>")
}

// clock writes the time of a day; the browser does so in its own time zone.
func (m *markup) clock(at time.Time) {
	at = at.UTC()
	m.add(`<time data-time datetime="`, at.Format(time.RFC3339), `">`, at.Format("15:04:05"), "</time>")
}
