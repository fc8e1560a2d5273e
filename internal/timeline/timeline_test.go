package timeline

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *Timeline {
	t.Helper()
	tl, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, tl) })
	return tl
}

func closed(t testing.TB, tl *Timeline) {
	t.Helper()
	if err := tl.Close(); err != nil {
		t.Error(err)
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func record(i int) Record {
	return Record{
		Time: noon.Add(time.Duration(i) * time.Second), Actor: "scale", Action: "scaled",
		Object: Object{Kind: "App", Namespace: "shop", Name: fmt.Sprintf("app-%d", i)},
		From:   "2 pods", To: "5 pods", Reason: "412 requests in flight, 100 per pod",
		Stages: []Stage{{Name: "decided", Duration: 3 * time.Millisecond}, {Name: "ready", Duration: time.Second}},
	}
}

func names(rs []Record) string {
	var s []string
	for _, r := range rs {
		s = append(s, r.Object.Name)
	}
	return strings.Join(s, " ")
}

func TestList(t *testing.T) {
	tl := open(t, t.TempDir())
	for i := range 4 {
		tl.Add(record(i))
	}
	tl.Add(Record{Time: noon, Actor: "supervisor", Action: "restarted", Object: Object{Kind: "Node", Name: "node-b"}})
	for _, c := range []struct {
		name   string
		filter Filter
		want   string
	}{
		{"everything, newest first", Filter{}, "node-b app-3 app-2 app-1 app-0"},
		{"limit keeps the newest", Filter{Limit: 2}, "node-b app-3"},
		{"namespace", Filter{Namespace: "shop", Limit: 1}, "app-3"},
		{"kind", Filter{Kind: "Node"}, "node-b"},
		{"name", Filter{Kind: "App", Name: "app-1"}, "app-1"},
		{"since includes its second", Filter{Since: noon.Add(2 * time.Second)}, "app-3 app-2"},
		{"nothing", Filter{Name: "app"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := names(tl.List(c.filter)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	tl := open(t, dir)
	tl.Add(record(1))
	tl.Add(Record{Object: Object{Kind: "App", Name: "bad \xff text"}, Reason: "x" + strings.Repeat("é", maxText)})
	want := tl.List(Filter{})
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, open(t, dir).List(Filter{})); diff != "" {
		t.Errorf("reopened differs (-want +got):\n%s", diff)
	}
}

func TestTornAndDamagedLines(t *testing.T) {
	whole := func(i int) string {
		b, err := record(i).encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct {
		name, content, want string
	}{
		{"half a line after a crash", whole(1) + whole(2)[:40], "app-9 app-1"},
		{"nothing but half a line", whole(1)[:20], "app-9"},
		{"a line without its end", whole(1) + strings.TrimSuffix(whole(2), "\n"), "app-9 app-1"},
		{"a damaged line in the middle", whole(1) + "\x00\x00\x00\n" + whole(3), "app-9 app-3 app-1"},
		{"empty lines", "\n\n" + whole(1) + "\n", "app-9 app-1"},
		{"a record without a time", `{"actor":"x"}` + "\n" + whole(1), "app-9 app-1"},
		{"a field of a newer program", strings.Replace(whole(1), "{", `{"new":1,`, 1), "app-9 app-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, currentFile), []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			tl := open(t, dir)
			tl.Add(record(9))
			if err := tl.Close(); err != nil {
				t.Fatal(err)
			}
			if got := names(open(t, dir).List(Filter{})); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	dir := t.TempDir()
	tl := open(t, dir)
	big := record(0)
	big.Reason = strings.Repeat("y", maxText)
	const n = keepRecords + 50
	for i := range n {
		big.Object.Name = fmt.Sprint(i)
		tl.Add(big)
	}
	got := tl.List(Filter{})
	if len(got) != keepRecords || got[0].Object.Name != fmt.Sprint(n-1) || got[keepRecords-1].Object.Name != "50" {
		t.Errorf("in memory: %d records, %s to %s", len(got), got[0].Object.Name, got[len(got)-1].Object.Name)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 {
		t.Fatalf("%d files, want 2", len(files))
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Size() > maxFile {
			t.Errorf("%s: %d bytes, %v", f.Name(), info.Size(), err)
		}
	}
	loaded, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if last := loaded[len(loaded)-1].Object.Name; last != fmt.Sprint(n-1) {
		t.Errorf("last record on disk is %s", last)
	}
	for i := 1; i < len(loaded); i++ {
		if a, b := number(t, loaded[i-1].Object.Name), number(t, loaded[i].Object.Name); b != a+1 {
			t.Fatalf("record %d follows %d", b, a)
		}
	}
}

func TestWatch(t *testing.T) {
	tl := open(t, t.TempDir())
	tl.Add(record(0))
	ctx, cancel := context.WithCancel(t.Context())
	ch := tl.Watch(ctx)
	tl.Add(record(1))
	if r := <-ch; r.Object.Name != "app-1" {
		t.Errorf("got %s, want the record added after Watch", r.Object.Name)
	}
	cancel()
	if _, ok := <-ch; ok {
		t.Error("channel open after its context ended")
	}
	tl.Add(record(2))
}

func TestWatchDropsSlowReader(t *testing.T) {
	tl := open(t, t.TempDir())
	slow := tl.Watch(t.Context())
	for i := range watchBuffer + 1 {
		tl.Add(record(i))
	}
	n := 0
	for range slow {
		n++
	}
	if n != watchBuffer {
		t.Errorf("slow reader got %d records before its channel was closed, want %d", n, watchBuffer)
	}
}

func TestClosed(t *testing.T) {
	tl := open(t, t.TempDir())
	ch := tl.Watch(t.Context())
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-ch; ok {
		t.Error("watch survived Close")
	}
	if _, ok := <-tl.Watch(t.Context()); ok {
		t.Error("watch began after Close")
	}
	tl.Add(record(1))
	if got := names(tl.List(Filter{})); got != "app-1" {
		t.Errorf("after Close: %q", got)
	}
}

func TestNil(t *testing.T) {
	var tl *Timeline
	tl.Add(record(1))
	if got := tl.List(Filter{}); got != nil {
		t.Errorf("nil timeline lists %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ch := tl.Watch(ctx)
	cancel()
	if _, ok := <-ch; ok {
		t.Error("nil timeline sent a record")
	}
	if err := tl.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	line, err := record(1).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"time":"2026-03-01T12:00:00+05:00","object":{"kind":"App","name":"a\ud800"}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err != nil {
			return
		}
		line, err := r.encode()
		if err != nil {
			return // a year that JSON cannot hold
		}
		if bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("record takes more than one line: %q", line)
		}
		again, err := parse(line)
		if err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Errorf("changed by writing and reading (-before +after):\n%s", diff)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	tl, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer closed(b, tl)
	for b.Loop() {
		tl.Add(record(1))
	}
}

func BenchmarkOpenFull(b *testing.B) {
	dir := b.TempDir()
	tl, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 50_000 {
		tl.Add(record(i))
	}
	closed(b, tl)
	for b.Loop() {
		t, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		closed(b, t)
	}
}
