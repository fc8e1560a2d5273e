package replay

import "strings"

// blocks are the levels of a line, the lowest for what is above nothing.
var blocks = []rune(" ▁▂▃▄▅▆▇█")

// Spark draws values as a line of width characters, the highest of them as a full block. A character shows the highest
// value of its time.
func Spark(values []float64, width int) string {
	if len(values) == 0 || width <= 0 {
		return ""
	}
	width = min(width, len(values))
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v)
	}
	var b strings.Builder
	for i := range width {
		top := 0.0
		for _, v := range values[i*len(values)/width : (i+1)*len(values)/width] {
			top = max(top, v)
		}
		b.WriteRune(level(top, highest))
	}
	return b.String()
}

func level(v, highest float64) rune {
	if v <= 0 || highest <= 0 {
		return blocks[0]
	}
	return blocks[1+min(int(v/highest*float64(len(blocks)-1)), len(blocks)-2)]
}
