package registry

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// start serves dir on a free port until the returned function is called.
func start(t *testing.T, dir string) (addr string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, dir, slog.New(slog.DiscardHandler)) }()
	return ln.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

func reference(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestWhatWasPushedSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	img, err := random.Image(100<<10, 3)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := random.Index(1<<10, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	addr, stop := start(t, dir)
	if err := remote.Write(reference(t, addr+"/shop/payment:one"), img); err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(reference(t, addr+"/shop/all:one"), idx); err != nil {
		t.Fatal(err)
	}
	stop()

	addr, stop = start(t, dir)
	defer stop()
	for _, ref := range []string{addr + "/shop/payment:one", addr + "/shop/payment@" + digest(t, img)} {
		got, err := remote.Image(reference(t, ref))
		if err != nil {
			t.Fatalf("pulling %s: %v", ref, err)
		}
		if err := validate.Image(got); err != nil {
			t.Errorf("pulling %s: %v", ref, err)
		}
	}
	got, err := remote.Index(reference(t, addr+"/shop/all:one"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(got); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "uploads")); len(left) > 0 {
		t.Errorf("%d uploads are left over", len(left))
	}
}

func digest(t *testing.T, img v1.Image) string {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func TestATagMoves(t *testing.T) {
	dir := t.TempDir()
	addr, stop := start(t, dir)
	var last v1.Image
	for range 2 {
		img, err := random.Image(10, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(reference(t, addr+"/app:latest"), img); err != nil {
			t.Fatal(err)
		}
		last = img
	}
	stop()
	addr, stop = start(t, dir)
	defer stop()
	desc, err := remote.Head(reference(t, addr+"/app:latest"))
	if err != nil {
		t.Fatal(err)
	}
	if desc.Digest.String() != digest(t, last) {
		t.Errorf("after a restart the tag names %s, want the newest, %s", desc.Digest, digest(t, last))
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	addr, stop := start(t, t.TempDir())
	defer stop()
	const none = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for name, c := range map[string]struct {
		method, path, host string
		body               io.Reader
		header             string
		want               int
		says               string
	}{
		"deleting a manifest":            {method: "DELETE", path: "/v2/a/manifests/t", want: 405, says: "nothing is deleted"},
		"deleting a blob":                {method: "DELETE", path: "/v2/a/blobs/" + none, want: 405, says: "nothing is deleted"},
		"the name of a web site":         {method: "GET", path: "/v2/", host: "evil.example", want: 403, says: "evil.example"},
		"a manifest of another digest":   {method: "PUT", path: "/v2/a/manifests/" + none, body: strings.NewReader("{}"), want: 400, says: "has digest"},
		"a manifest that is not JSON":    {method: "PUT", path: "/v2/a/manifests/t", body: strings.NewReader("{"), want: 400, says: "not JSON"},
		"a manifest of 5 MiB":            {method: "PUT", path: "/v2/a/manifests/t", body: bytes.NewReader(make([]byte, 5<<20)), want: 413, says: "too large"},
		"a manifest outside /v2":         {method: "PUT", path: "/x/a/manifests/t", body: strings.NewReader("{}"), want: 404, says: "nothing can be stored"},
		"a manifest without a target":    {method: "PUT", path: "/v2/a/manifests/", body: strings.NewReader("{}"), want: 404, says: "nothing can be stored"},
		"a repository that climbs":       {method: "PUT", path: "/v2/a/../../b/manifests/t", body: strings.NewReader("{}"), want: 400, says: "no name"},
		"an upload that is a path":       {method: "PATCH", path: "/v2/a/blobs/uploads/..", body: strings.NewReader("x"), want: 416, says: "no upload"},
		"a chunk that leaves a gap":      {method: "PATCH", path: "/v2/a/blobs/uploads/7", body: strings.NewReader("x"), header: "5-6", want: 416, says: "starts at 5"},
		"a blob that is not its digest":  {method: "PUT", path: "/v2/a/blobs/uploads/8?digest=" + none, body: strings.NewReader("x"), want: 400, says: "DIGEST_INVALID"},
		"an index of a missing manifest": {method: "PUT", path: "/v2/a/manifests/t", body: strings.NewReader(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + none + `"}]}`), header: "application/vnd.oci.image.index.v1+json", want: 404, says: "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+addr+c.path, c.body)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = c.host
			if c.method == "PATCH" {
				req.Header.Set("Content-Range", c.header)
			} else {
				req.Header.Set("Content-Type", c.header)
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.want || !strings.Contains(string(body), c.says) {
				t.Errorf("answer %d %s\nwant %d with %q", resp.StatusCode, body, c.want, c.says)
			}
		})
	}
}

func TestChunkedUploadIsStored(t *testing.T) {
	addr, stop := start(t, t.TempDir())
	defer stop()
	const blob = "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9" // "hello world"
	send := func(method, path, contentRange, body string) int {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if contentRange != "" {
			req.Header.Set("Content-Range", contentRange)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, step := range []struct {
		method, path, contentRange, body string
		want                             int
	}{
		{"PATCH", "/v2/a/blobs/uploads/42", "0-5", "hello ", 202},
		{"PATCH", "/v2/a/blobs/uploads/42", "6-10", "world", 202},
		{"PUT", "/v2/a/blobs/uploads/42?digest=" + blob, "", "", 201},
		{"GET", "/v2/a/blobs/" + blob, "", "", 200},
		{"HEAD", "/v2/a/blobs/" + blob, "", "", 200},
	} {
		if got := send(step.method, step.path, step.contentRange, step.body); got != step.want {
			t.Fatalf("%s %s: %d, want %d", step.method, step.path, got, step.want)
		}
	}
}

func TestServeRefusesMoreThanLoopback(t *testing.T) {
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := Serve(t.Context(), ln, t.TempDir(), slog.Default()); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("Serve on every address: %v, want a refusal", err)
	}
}

func TestADamagedFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "manifests", "x.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dir, slog.Default()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("New: %v, want an error that names %s", err, path)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"repo":"shop/payment","target":"one","type":"x","body":"e30="}`))
	f.Add([]byte(`{"repo":"a","target":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","body":"e30="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		if p := parsePath("/v2/" + m.Repo + "/manifests/" + m.Target); p.repo != m.Repo || p.target != m.Target {
			t.Errorf("accepted %q of %q, whose path reads as %+v", m.Target, m.Repo, p)
		}
	})
}
