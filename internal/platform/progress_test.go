package platform

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgressElsewhereIsOneLineAStage(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b)
	p.Waiting("etcd")
	p.Done("etcd", 1234*time.Millisecond)
	p.Status("running")
	p.Close()
	if got := b.String(); got != "  etcd                            1.2s\n" {
		t.Errorf("printed %q", got)
	}
}

func TestFit(t *testing.T) {
	for line, want := range map[string]string{
		"short":                 "short",
		strings.Repeat("é", 20): strings.Repeat("é", 8) + "…",
		strings.Repeat("x", 9):  strings.Repeat("x", 9),
		strings.Repeat("x", 10): strings.Repeat("x", 8) + "…",
	} {
		if got := fit(line, 10); got != want {
			t.Errorf("fit(%q) = %q, want %q", line, got, want)
		}
	}
}
