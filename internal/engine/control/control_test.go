package control

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/escale-dev/escale/internal/engine"
)

// fleet is a platform that only keeps a list.
type fleet struct{ nodes map[string]engine.NodeConfig }

func (f *fleet) AddNode(_ context.Context, want engine.NodeConfig) (engine.NodeConfig, error) {
	if want.Name == "" {
		want.Name = "node-9"
	}
	if _, ok := f.nodes[want.Name]; ok {
		return want, errors.New(`node "` + want.Name + `" exists: choose another name`)
	}
	want.Address = "10.42.4.1"
	f.nodes[want.Name] = want
	return want, nil
}

func (f *fleet) RemoveNode(_ context.Context, name string) error {
	if _, ok := f.nodes[name]; !ok {
		return errors.New("there is no node " + name)
	}
	delete(f.nodes, name)
	return nil
}

func (f *fleet) LoginURL() string { return "http://127.0.0.1:7080/login?token=x" }

func (f *fleet) View(_ context.Context, name string, query url.Values) (any, error) {
	switch name {
	case "echo":
		return query, nil
	case "broken":
		return nil, errors.New("it is broken")
	}
	return nil, ErrNoView
}

// serve runs a platform in a data directory whose path is longer than a socket's may be.
func serve(t *testing.T) (engine.Dir, *fleet) {
	t.Helper()
	dir := engine.Dir(filepath.Join(t.TempDir(), strings.Repeat("d", 120)))
	if err := os.MkdirAll(string(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := &fleet{nodes: map[string]engine.NodeConfig{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, p) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(socketPath(dir)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return dir, p
}

func TestAsk(t *testing.T) {
	dir, p := serve(t)
	c := NewClient(dir)
	got, err := c.AddNode(t.Context(), Node{Zone: "b", CPUMillis: 500})
	if want := (Node{Name: "node-9", Zone: "b", CPUMillis: 500, Address: "10.42.4.1"}); err != nil || got != want {
		t.Errorf("AddNode: got %+v, %v; want %+v", got, err, want)
	}
	if _, err := c.AddNode(t.Context(), Node{}); err == nil || err.Error() != `node "node-9" exists: choose another name` {
		t.Errorf("AddNode again: got %v", err)
	}
	if url, err := c.LoginURL(t.Context()); err != nil || url != p.LoginURL() {
		t.Errorf("LoginURL: got %q, %v", url, err)
	}
	if err := c.RemoveNode(t.Context(), "node-9"); err != nil || len(p.nodes) != 0 {
		t.Errorf("RemoveNode: got %v, left %v", err, p.nodes)
	}
	if err := c.RemoveNode(t.Context(), "a/b"); err == nil || err.Error() != "there is no node a/b" {
		t.Errorf("RemoveNode of a name with a slash: got %v", err)
	}
}

func TestView(t *testing.T) {
	dir, _ := serve(t)
	c := NewClient(dir)
	var got url.Values
	want := url.Values{"name": {"a&b"}, "x": {"1", "2"}}
	if err := c.View(t.Context(), "echo", want, &got); err != nil || got.Encode() != want.Encode() {
		t.Errorf("got %v, %v", got, err)
	}
	if err := c.View(t.Context(), "none/such", nil, &got); !errors.Is(err, ErrNoView) {
		t.Errorf("a view that is not there: %v", err)
	}
	if err := c.View(t.Context(), "broken", nil, &got); err == nil || err.Error() != "it is broken" {
		t.Errorf("a view that fails: %v", err)
	}
}

func TestSocketIsItsOwnersAlone(t *testing.T) {
	dir, _ := serve(t)
	info, err := os.Lstat(socketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("the socket has mode %o, want 600", got)
	}
	left, err := filepath.Glob(filepath.Join(string(dir), "control-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestNobodyThere(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, dir engine.Dir){
		"no directory": func(*testing.T, engine.Dir) {},
		"no socket":    func(t *testing.T, dir engine.Dir) { must(t, os.Mkdir(string(dir), 0o700)) },
		"killed platform": func(t *testing.T, dir engine.Dir) {
			must(t, os.Mkdir(string(dir), 0o700))
			l, err := Listen(dir)
			must(t, err)
			must(t, l.(*listener).Listener.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := engine.Dir(filepath.Join(t.TempDir(), "data"))
			prepare(t, dir)
			if _, err := NewClient(dir).LoginURL(t.Context()); !errors.Is(err, ErrNotRunning) {
				t.Errorf("got %v, want ErrNotRunning", err)
			}
		})
	}
}

func TestListenReplacesWhatAKilledPlatformLeft(t *testing.T) {
	dir := engine.Dir(t.TempDir())
	first, err := Listen(dir)
	must(t, err)
	must(t, first.(*listener).Listener.Close())
	second, err := Listen(dir)
	must(t, err)
	must(t, second.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDecodeNodeRefuses(t *testing.T) {
	for in, want := range map[string]string{
		`{"name":"../x"}`:      `node name "../x"`,
		`{"name":"Upper"}`:     `node name "Upper"`,
		`{"zone":"a b"}`:       `zone "a b"`,
		`{"cpuMillis":-1}`:     "negative",
		`{"memory":"1Gi"}`:     "unknown field",
		`{"name":`:             "unexpected EOF",
		`{"memoryBytes":1e99}`: "cannot unmarshal",
	} {
		if _, err := decodeNode(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", in, err, want)
		}
	}
}

func FuzzDecodeNode(f *testing.F) {
	f.Add([]byte(`{"name":"node-4","zone":"a","cpuMillis":1000,"memoryBytes":1073741824}`))
	f.Add([]byte(`{"name":"../../etc"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNode(bytes.NewReader(b))
		if err == nil && (strings.ContainsAny(n.Name, "/.") || n.CPUMillis < 0 || n.MemoryBytes < 0) {
			t.Errorf("accepted %+v", n)
		}
	})
}
