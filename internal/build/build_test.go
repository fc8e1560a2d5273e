package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine/registry"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func newBuilder(t *testing.T) *Builder {
	t.Helper()
	cache(t)
	h, err := registry.New(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &Builder{Registry: srv.Listener.Addr().String()}
}

// cache keeps what a test builds out of the user's cache, except for what go itself keeps there.
func cache(t *testing.T) {
	t.Helper()
	user, err := os.UserCacheDir()
	if err != nil {
		return
	}
	if os.Getenv("GOCACHE") == "" {
		t.Setenv("GOCACHE", filepath.Join(user, "go-build"))
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
}

// folder makes a folder with the given files; a name that ends in * is executable.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for n, content := range files {
		path, program := strings.CutSuffix(filepath.Join(dir, n), "*")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(0o600)
		if program {
			mode = 0o700
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func pull(t *testing.T, image string) v1.Image {
	t.Helper()
	ref, err := name.NewDigest(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Fatal(err)
	}
	return img
}

// contents lists the image's files: mode, owner, time, name and content or target.
func contents(t *testing.T, img v1.Image) []string {
	t.Helper()
	rc := mutate.Extract(img)
	defer rc.Close()
	var lines []string
	for r := tar.NewReader(rc); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(io.LimitReader(r, 20))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %d:%d %d %s %s%s", h.FileInfo().Mode(), h.Uid, h.Gid, h.ModTime.Unix(), h.Name, h.Linkname, body))
	}
}

func TestFolderBecomesImage(t *testing.T) {
	dir := folder(t, map[string]string{
		"app/main.py":             "print(1)",
		"app/run.sh*":             "#!/bin/sh",
		"app/lib/a.py":            "a",
		"app/escale.yaml":         "replicas: 2",
		"app/.git/HEAD":           "x",
		"app/lib/__pycache__/a.p": "x",
		"app/node_modules/m.js":   "m",
	})
	if err := os.Symlink("lib/a.py", filepath.Join(dir, "app", "z")); err != nil {
		t.Fatal(err)
	}
	image, command, err := newBuilder(t).Build(t.Context(), dir, v1alpha1.Source{Path: "app"}, "shop/web")
	if err != nil {
		t.Fatal(err)
	}
	if len(command) > 0 {
		t.Errorf("command %q, want none", command)
	}
	if !strings.Contains(image, "/shop/web@sha256:") {
		t.Errorf("image %q, want shop/web by digest", image)
	}
	img := pull(t, image)
	want := []string{
		"drwxr-xr-x 0:0 0 app ",
		"drwxr-xr-x 0:0 0 app/lib ",
		"-rw-r--r-- 0:0 0 app/lib/a.py a",
		"-rw-r--r-- 0:0 0 app/main.py print(1)",
		"drwxr-xr-x 0:0 0 app/node_modules ",
		"-rw-r--r-- 0:0 0 app/node_modules/m.js m",
		"-rwxr-xr-x 0:0 0 app/run.sh #!/bin/sh",
		"Lrwxrwxrwx 0:0 0 app/z lib/a.py",
	}
	if diff := cmp.Diff(want, contents(t, img)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Config.WorkingDir != "/app" || cfg.Config.User != "65532" || cfg.OS != "linux" || cfg.Architecture != arch() {
		t.Errorf("config %+v", cfg)
	}
}

func TestSameContentIsSameDigest(t *testing.T) {
	b := newBuilder(t)
	build := func(dir string) string {
		image, _, err := b.Build(t.Context(), dir, v1alpha1.Source{Path: "."}, "shop/web")
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	files := map[string]string{"b": "2", "a": "1", "d/c": "3", "escale.yaml": "one"}
	first := folder(t, files)
	files["escale.yaml"] = "two"
	second := folder(t, files)
	if err := os.Chtimes(filepath.Join(second, "a"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(second, "a"), 0o640); err != nil {
		t.Fatal(err)
	}
	if a, b := build(first), build(second); a != b {
		t.Errorf("two folders with the same content became %s and %s", a, b)
	}
	if err := os.Chmod(filepath.Join(second, "a"), 0o740); err != nil {
		t.Fatal(err)
	}
	if a, b := build(first), build(second); a == b {
		t.Error("a file became executable and the digest stayed")
	}
}

const goMod = "module example.com/hello\n\ngo 1.26\n"

func TestGoProgramBecomesImageOfTheProgram(t *testing.T) {
	needGo(t)
	b := newBuilder(t)
	var steps []string
	b.Progress = func(app, step string) { steps = append(steps, app+" "+step) }
	files := map[string]string{"go.mod": goMod, "main.go": "package main\n\nfunc main() { println(42) }\n", "secret.txt": "x"}
	image, command, err := b.Build(t.Context(), folder(t, files), v1alpha1.Source{Path: "."}, "demo/hello")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/app/hello"}, command); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"demo/hello compiling", "demo/hello packing", "demo/hello pushing"}, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	img := pull(t, image)
	if got := contents(t, img); len(got) != 2 || !strings.HasPrefix(got[1], "-rwxr-xr-x 0:0 0 app/hello \x7fELF") {
		t.Errorf("files %q, want the program alone", got)
	}
	again, _, err := b.Build(t.Context(), folder(t, files), v1alpha1.Source{Path: "."}, "demo/hello")
	if err != nil {
		t.Fatal(err)
	}
	if again != image {
		t.Errorf("the same program in another folder became %s, then %s", image, again)
	}
}

func TestTwoAppsOfOneFolderBuiltAtOnce(t *testing.T) {
	needGo(t)
	b := newBuilder(t)
	dir := folder(t, map[string]string{"go.mod": goMod, "main.go": "package main\n\nfunc main() { println(1) }\n"})
	var all sync.WaitGroup
	for _, app := range []string{"demo/web", "demo/worker"} {
		all.Go(func() {
			image, command, err := b.Build(t.Context(), dir, v1alpha1.Source{Path: "."}, app)
			if err != nil || len(command) != 1 || command[0] != "/app/"+filepath.Base(app) {
				t.Errorf("%s: %q %q %v", app, image, command, err)
			}
		})
	}
	all.Wait()
}

func needGo(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
}

func TestBuildCommand(t *testing.T) {
	b := newBuilder(t)
	src := v1alpha1.Source{Path: ".", Build: []string{"/bin/sh", "-c", "echo built > out"}}
	image, _, err := b.Build(t.Context(), folder(t, map[string]string{"in": "x"}), src, "shop/web")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"drwxr-xr-x 0:0 0 app ", "-rw-r--r-- 0:0 0 app/in x", "-rw-r--r-- 0:0 0 app/out built\n"}
	if diff := cmp.Diff(want, contents(t, pull(t, image))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	needGo(t)
	b := newBuilder(t)
	big := folder(t, nil)
	if err := os.Truncate(touch(t, big, "data.bin"), maxBytes+1); err != nil {
		t.Fatal(err)
	}
	out := folder(t, map[string]string{"a": "x"})
	if err := os.Symlink("../../etc/passwd", filepath.Join(out, "leak")); err != nil {
		t.Fatal(err)
	}
	absolute := folder(t, nil)
	if err := os.Symlink("/etc/passwd", filepath.Join(absolute, "leak")); err != nil {
		t.Fatal(err)
	}
	// "step" points inside, and "leak" through it outside, although its path does not look so.
	crooked := folder(t, map[string]string{"deep/er/x": "x"})
	for link, target := range map[string]string{"step": "deep/er", "leak": "step/../../.."} {
		if err := os.Symlink(target, filepath.Join(crooked, link)); err != nil {
			t.Fatal(err)
		}
	}
	socket := folder(t, nil)
	ln, err := net.Listen("unix", filepath.Join(socket, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()

	for name, c := range map[string]struct {
		dir  string
		src  v1alpha1.Source
		want []string
	}{
		"no such folder":         {big, v1alpha1.Source{Path: "nowhere"}, []string{`source "nowhere"`, "no such file"}},
		"an absolute path":       {big, v1alpha1.Source{Path: "/etc"}, []string{`source "/etc"`, "relative"}},
		"a file":                 {out, v1alpha1.Source{Path: "a"}, []string{`source "a" is a file`}},
		"an empty folder":        {folder(t, nil), v1alpha1.Source{Path: "."}, []string{"holds no files"}},
		"too large":              {big, v1alpha1.Source{Path: "."}, []string{"1024 MiB", `"data.bin"`}},
		"a symlink out":          {out, v1alpha1.Source{Path: "."}, []string{`/leak"`, "leads out", "../../etc/passwd"}},
		"an absolute symlink":    {absolute, v1alpha1.Source{Path: "."}, []string{`/leak"`, "leads out", "/etc/passwd"}},
		"a symlink out by links": {crooked, v1alpha1.Source{Path: "."}, []string{`/leak"`, "leads out"}},
		"a socket":               {socket, v1alpha1.Source{Path: "."}, []string{`"sock" is a socket`}},
		"a failing command":      {out, v1alpha1.Source{Path: ".", Build: []string{"/bin/sh", "-c", "echo no luck; exit 3"}}, []string{"exit status 3", "no luck"}},
		"a missing command":      {out, v1alpha1.Source{Path: ".", Build: []string{"no-such-tool"}}, []string{`"no-such-tool"`, "not found"}},
		"Go that does not compile": {
			folder(t, map[string]string{"go.mod": goMod, "main.go": "package main\n\nfunc main() { undefined() }\n"}),
			v1alpha1.Source{Path: "."}, []string{"./main.go:3:15: undefined: undefined"},
		},
		"Go that does not parse": {
			folder(t, map[string]string{"go.mod": goMod, "main.go": "packige main\n"}),
			v1alpha1.Source{Path: "."}, []string{"main.go:1:1: expected 'package'"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := b.Build(t.Context(), c.dir, c.src, "shop/web")
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(c.want, `building App "shop/web"`) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q\nwant %q in it", err, want)
				}
			}
		})
	}
}

func touch(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMissingGoIsExplained(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := folder(t, map[string]string{"main.go": "package main\n"})
	_, _, err := newBuilder(t).Build(t.Context(), dir, v1alpha1.Source{Path: "."}, "shop/web")
	if err == nil || !strings.Contains(err.Error(), "install Go, or set source.build") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

func TestRegistryThatDoesNotAnswerIsNamed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	b := &Builder{Registry: ln.Addr().String()}
	_, _, err = b.Build(t.Context(), folder(t, map[string]string{"a": "x"}), v1alpha1.Source{Path: "."}, "shop/web")
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("error %v, want the registry's address in it", err)
	}
}

func TestCancelledBuildIsKilledWithItsChildren(t *testing.T) {
	dir := folder(t, map[string]string{"a": "x"})
	fifo := filepath.Join(t.TempDir(), "alive")
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Skipf("needs mkfifo: %v %s", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	b := newBuilder(t)
	go func() {
		// The command and its child both hold the pipe open, until they are dead.
		src := v1alpha1.Source{Path: ".", Build: []string{"/bin/sh", "-c", "exec 3>" + fifo + "; sleep 1000 & sleep 1000"}}
		_, _, err := b.Build(ctx, dir, src, "shop/web")
		done <- err
	}()
	alive, err := os.Open(fifo) // returns when the command has opened it
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if _, err := io.ReadAll(alive); err != nil { // ends when no process holds the other end
		t.Fatal(err)
	}
}

func TestLongOutputKeepsItsEnd(t *testing.T) {
	var out tail
	for i := range 5000 {
		fmt.Fprintf(&out, "line %d\n", i)
	}
	s := out.String()
	if !strings.HasPrefix(s, "…\nline ") || !strings.HasSuffix(s, "line 4999") || len(s) > maxOutput+10 {
		t.Errorf("kept %d bytes: %.30q…%q", len(s), s, s[len(s)-20:])
	}
}
