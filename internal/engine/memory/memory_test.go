package memory

import (
	"slices"
	"strings"
	"testing"
)

func TestReadOnlyLeavesWhatWasWritten(t *testing.T) {
	maps := `00400000-00401000 r--p 00000000 fd:00 12 /bin/escale
00401000-09000000 r-xp 00001000 fd:00 12 /bin/escale
09000000-09100000 rw-p 08c00000 fd:00 12 /bin/escale
7f0000000000-7f0000001000 r--p 00000000 fd:00 13 /lib/other
c000000000-c000400000 rw-p 00000000 00:00 0
`
	got := readOnly(strings.NewReader(maps), "/bin/escale")
	want := []mapping{{0x400000, 0x401000}, {0x401000, 0x9000000}}
	if !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// The program goes on working with its pages dropped.
func TestDropProgramPages(t *testing.T) {
	dropProgramPages()
	if got := strings.Repeat("ab", 2); got != "abab" {
		t.Errorf("got %q", got)
	}
}
