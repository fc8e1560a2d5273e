// Package chart draws data as HTML and SVG on the server: values over time, sparklines, bars, gauges, heat maps,
// waterfalls and weeks. A chart is a plain struct: its JSON is its data, and its method HTML draws it.
//
// Invariants:
//   - Drawing is a pure function of the struct; the time is a part of it. The same data gives the same bytes.
//   - A value that is not there (NaN, infinite) is a gap: it is never drawn as zero or as a line across.
//   - Nothing is inline: shapes have classes and attributes, and colours come from the style sheet, light and dark.
//   - Colour only repeats: series differ in dash or fill as well, and states have words.
//   - Each chart has a name and a sentence for those who do not see it, and its values as a table or as text.
//   - Charts stretch with their box: positions are in per cent, texts keep their size.
//
// The script of the portal adds the cross-hair; what it needs is in data attributes. The package knows no capability,
// reads no clock and keeps nothing.
package chart
