package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Unit is what a value counts. One that is not listed here is a word that is written after the number, such as
// "messages".
type Unit string

// The units that are written in a way of their own.
const (
	// Count is a number of things that the title names.
	Count Unit = ""
	// Rate is requests per second.
	Rate Unit = "req/s"
	// Seconds are written as µs, ms, s or minutes, whichever is short.
	Seconds Unit = "s"
	// Cores of CPU.
	Cores Unit = "cores"
	// Bytes are written in KiB, MiB, GiB and TiB.
	Bytes Unit = "bytes"
	// Ratio is a part of one, written in per cent.
	Ratio Unit = "%"
)

// Absent is what stands for a value that is not there.
const Absent = "–"

// Text is a value with its unit, to three digits: "1.24 s", "312 MiB", "18 req/s".
func (u Unit) Text(v float64) string {
	n, unit := u.Parts(v)
	switch unit {
	case "":
		return n
	case "%":
		return n + unit
	}
	return n + " " + unit
}

// Parts are the number and the unit of Text; the unit is empty for a count and for what is absent.
func (u Unit) Parts(v float64) (number, unit string) {
	if !isValue(v) {
		return Absent, ""
	}
	if u == Seconds && math.Abs(v) >= 60 {
		return minutes(v), ""
	}
	factor, unit := u.scale(math.Abs(v))
	return digits(v / factor), unit
}

func minutes(v float64) string {
	d := time.Duration(min(math.Abs(v), 1e9)) * time.Second
	sign := ""
	if v < 0 {
		sign = "−"
	}
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%s%dm %ds", sign, int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%s%dh %dm", sign, int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%s%dd %dh", sign, int(d.Hours())/24, int(d.Hours())%24)
}

const kibi = 1024.0

// scale is by how much a value of that size is divided to be short, and the unit of the result.
func (u Unit) scale(size float64) (factor float64, unit string) {
	switch u {
	case Seconds:
		switch {
		case size == 0:
			return 1e-3, "ms"
		case size < .0009995:
			return 1e-6, "µs"
		case size < .9995:
			return 1e-3, "ms"
		}
		return 1, "s"
	case Bytes:
		names := []string{"B", "KiB", "MiB", "GiB", "TiB"}
		factor = 1
		for len(names) > 1 && size/factor >= 1000 {
			factor, names = factor*kibi, names[1:]
		}
		return factor, names[0]
	case Ratio:
		return .01, "%"
	}
	return 1, string(u)
}

// digits writes a number with at most three digits that mean something, and k, M or G for what is large.
func digits(v float64) string {
	size := math.Abs(v)
	suffix := ""
	for _, s := range []string{"k", "M", "G", "T"} {
		if size < 999.5 {
			break
		}
		size, v, suffix = size/1000, v/1000, s
	}
	if size >= 999.5 {
		return strconv.FormatFloat(v, 'g', 3, 64) + suffix
	}
	places := 2
	switch {
	case size >= 99.95:
		places = 0
	case size >= 9.995:
		places = 1
	case size > 0 && size < .0995:
		places = 3
	}
	s := strconv.FormatFloat(v, 'f', places, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if size > 0 && suffix == "" && (s == "-0" || s == "0") {
		return "<0.001"
	}
	if s == "-0" || s == "0" {
		return "0" + suffix
	}
	return strings.Replace(s, "-", "−", 1) + suffix
}

// least is the smallest top of an axis, so that noise around zero does not look like a mountain.
func (u Unit) least() float64 {
	switch u {
	case Seconds:
		return .01
	case Bytes:
		return 1 << 20
	case Ratio:
		return .01
	case Cores:
		return .1
	}
	return 1
}

// axis is a range of values with round ends, and the values in between that get a line.
type axis struct {
	low, high float64
	ticks     []float64
	unit      Unit
}

// mostTicks is about how many lines an axis gets.
const mostTicks = 4

// newAxis makes the axis for values from low to high. It begins at zero unless there are values below.
func newAxis(u Unit, low, high float64) axis {
	low, high = min(0, low), max(0, high)
	if high-low < u.least() {
		high = low + u.least()
	}
	step := u.step((high - low) / mostTicks)
	a := axis{unit: u, low: math.Floor(low/step+1e-9) * step, high: math.Ceil(high/step-1e-9) * step}
	for i := range int(math.Round((a.high-a.low)/step)) + 1 {
		a.ticks = append(a.ticks, a.low+float64(i)*step)
	}
	return a
}

// step is the next larger round distance: 1, 2, 2.5 or 5 times a power of ten, for bytes of what the axis is labelled
// in, and whole numbers for what is counted.
func (u Unit) step(rough float64) float64 {
	factor := 1.0
	if u == Bytes {
		factor, _ = u.scale(rough * mostTicks)
	}
	rough /= factor
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		whole := m != 2.5 || power >= 10 || !u.whole()
		if whole && m*power >= rough*(1-1e-9) {
			if u.whole() {
				return max(1, m*power) * factor
			}
			return m * power * factor
		}
	}
	return 10 * power * factor
}

// whole says whether a part of one means nothing.
func (u Unit) whole() bool {
	switch u {
	case Rate, Seconds, Cores, Bytes, Ratio:
		return false
	}
	return true
}

// label is the text of a tick. The unit stands there where it depends on the size.
func (a axis) label(v float64) string {
	if math.Abs(v) < (a.high-a.low)*1e-9 {
		return "0"
	}
	factor, unit := a.unit.scale(max(math.Abs(a.low), math.Abs(a.high)))
	switch a.unit {
	case Seconds, Bytes:
		return digits(v/factor) + " " + unit
	case Ratio:
		return digits(v/factor) + unit
	}
	return digits(v)
}

// place is where a value is, in parts of 1000 from the top.
func (a axis) place(v float64) int {
	return int(math.Round(1000 * (1 - (min(max(v, a.low), a.high)-a.low)/(a.high-a.low))))
}
