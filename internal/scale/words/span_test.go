package words

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 90 * time.Millisecond: "90 ms", 2500 * time.Millisecond: "2 s", 90 * time.Second: "1 min 30 s",
		15 * time.Minute: "15 min", 12 * time.Hour: "12 h", 90 * time.Minute: "1 h 30 min", 49 * time.Hour: "49 h",
	} {
		if got := Span(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
