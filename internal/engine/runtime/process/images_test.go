package process

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
)

// tree lists a folder: folders end in a slash, links show their target, files their content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel := strings.TrimPrefix(path, dir+"/")
		switch {
		case info.IsDir():
			got[rel+"/"] = ""
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			got[rel] = "-> " + target
			return err
		default:
			b, err := os.ReadFile(path)
			got[rel] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func newUnpacker(t testing.TB, dir string) *unpacker {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return &unpacker{root: root, entries: 1000, bytes: 1 << 20}
}

func TestUnpack(t *testing.T) {
	lower := []entry{
		{name: "./", kind: tar.TypeDir}, {name: "./a/", kind: tar.TypeDir}, {name: "a/one", content: "1"}, {name: "a/two", content: "2"},
		{name: "deep/er/file", content: "x"}, {name: "link", kind: tar.TypeSymlink, link: "a"}, {name: "hard", kind: tar.TypeLink, link: "a/one"},
	}
	for name, tc := range map[string]struct {
		upper []entry
		want  map[string]string
	}{
		"replaced and removed": {
			[]entry{{name: "a/one", content: "new"}, {name: "deep/.wh.er"}, {name: "link", content: "file now"}},
			map[string]string{"a/": "", "a/one": "new", "a/two": "2", "deep/": "", "link": "file now", "hard": "1"},
		},
		"folder emptied, own files kept": {
			[]entry{{name: "a/three", content: "3"}, {name: "a/.wh..wh..opq"}, {name: ".wh.deep"}, {name: ".wh.link"}, {name: ".wh.hard"}},
			map[string]string{"a/": "", "a/three": "3"},
		},
		"file becomes a folder": {
			[]entry{{name: "hard/", kind: tar.TypeDir}, {name: "hard/x", content: "y"}, {name: ".wh.a"}, {name: ".wh.deep"}, {name: ".wh.link"}},
			map[string]string{"hard/": "", "hard/x": "y"},
		},
		"no devices": {
			[]entry{{name: "dev", kind: tar.TypeBlock}, {name: "pipe", kind: tar.TypeFifo}, {name: ".wh.a"}, {name: ".wh.deep"}, {name: ".wh.link"}},
			map[string]string{"hard": "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			u := newUnpacker(t, dir)
			for _, l := range [][]entry{lower, tc.upper} {
				if err := u.layer(bytes.NewReader(archive(l...))); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tc.want, tree(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		entries []entry
		want    string
	}{
		"parent":            {[]entry{{name: "../x", content: "y"}}, "outside"},
		"parent inside":     {[]entry{{name: "a/../../x", content: "y"}}, "outside"},
		"through a link":    {[]entry{{name: "out", kind: tar.TypeSymlink, link: ".."}, {name: "out/x", content: "y"}}, "escapes"},
		"through /":         {[]entry{{name: "out", kind: tar.TypeSymlink, link: "/tmp"}, {name: "out/x", content: "y"}}, "escapes"},
		"hard link outside": {[]entry{{name: "x", kind: tar.TypeLink, link: "../../../etc/passwd"}}, "no such file"},
		"link to itself":    {[]entry{{name: "x", kind: tar.TypeLink, link: "x"}}, "itself"},
		"whiteout outside":  {[]entry{{name: "out", kind: tar.TypeSymlink, link: ".."}, {name: "out/.wh.sibling"}}, "escapes"},
		"too many":          {make([]entry, 1001), "more than"},
		"too big":           {[]entry{{name: "x", content: strings.Repeat("x", 1<<20+1)}}, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "image")
			for _, d := range []string{dir, filepath.Join(parent, "sibling")} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for i := range tc.entries {
				if tc.entries[i].name == "" {
					tc.entries[i].name = "same"
				}
			}
			err := newUnpacker(t, dir).layer(bytes.NewReader(archive(tc.entries...)))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
			left, err := os.ReadDir(parent)
			if err != nil || len(left) != 2 {
				t.Errorf("written outside: %v %v", left, err)
			}
		})
	}
}

// Nothing an archive says reaches beyond the folder of the image.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(entry{name: "a/b", content: "c"}, entry{name: "a/.wh..wh..opq"}, entry{name: ".wh.a"}))
	f.Add(archive(entry{name: "l", kind: tar.TypeSymlink, link: "../sibling"}, entry{name: "l/x", content: "y"}))
	f.Add(archive(entry{name: "h", kind: tar.TypeLink, link: "../sibling/kept"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		parent := t.TempDir()
		dir, sibling := filepath.Join(parent, "image"), filepath.Join(parent, "sibling")
		for _, d := range []string{dir, sibling} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(sibling, "kept"), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
		_ = newUnpacker(t, dir).layer(bytes.NewReader(b))
		if diff := cmp.Diff(map[string]string{"kept": "text"}, tree(t, sibling)); diff != "" {
			t.Fatal(diff)
		}
		if left, err := os.ReadDir(parent); err != nil || len(left) != 2 {
			t.Fatalf("written outside: %v %v", left, err)
		}
	})
}

func TestImagesAreSharedByNodes(t *testing.T) {
	ref := push(t, v1.Config{User: "7"}, entry{name: "app/x", content: "y"})
	dir := t.TempDir()
	digests := make([]string, 8)
	var wg sync.WaitGroup
	for i := range digests {
		wg.Go(func() {
			s, err := newImageStore(dir) // each as another process would
			if err != nil {
				t.Error(err)
				return
			}
			record, err := s.pull(t.Context(), ref, nil)
			if err != nil {
				t.Error(err)
			}
			digests[i] = record.Digest
		})
	}
	wg.Wait()
	s, err := newImageStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	record, ok, err := s.find(digests[0])
	if err != nil || !ok || record.Size != 1 {
		t.Fatalf("got %+v %v %v", record, ok, err)
	}
	if img := record.image(); img.Uid.GetValue() != 7 {
		t.Errorf("user %v", img.Uid)
	}
	if diff := cmp.Diff(map[string]string{"app/": "", "app/x": "y"}, tree(t, s.folder(record.Digest))); diff != "" {
		t.Error(diff)
	}
}

// A node that waits for another to unpack an image must not go on waiting while a container of that one uses it.
func TestPullDoesNotWaitForContainers(t *testing.T) {
	dir := t.TempDir()
	for range 100 {
		ref := push(t, v1.Config{}, entry{name: "main", content: rand.Text()})
		var pulled sync.WaitGroup
		for range 4 {
			pulled.Add(1)
			go func() {
				defer pulled.Done()
				s, err := newImageStore(dir) // each as another process would
				if err != nil {
					t.Error(err)
					return
				}
				record, err := s.pull(context.WithoutCancel(t.Context()), ref, nil)
				if err != nil {
					t.Error(err)
					return
				}
				used, err := s.use(record)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { _ = used.release() })
			}()
		}
		all := make(chan struct{})
		go func() { pulled.Wait(); close(all) }()
		select {
		case <-all:
		case <-time.After(20 * time.Second):
			t.Fatal("a pull waits for a container that uses the image")
		}
	}
}

func TestImageInUseStays(t *testing.T) {
	s, err := newImageStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ref := pushApp(t)
	record, err := s.pull(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	used, err := s.use(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.remove(ref); err == nil || !strings.Contains(err.Error(), "used by a container") {
		t.Errorf("got %v", err)
	}
	if err := used.release(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.remove(record.Digest); err != nil {
			t.Error(err)
		}
	}
	if _, ok, err := s.find(ref); ok || err != nil {
		t.Errorf("still there: %v %v", ok, err)
	}
}

func TestImageService(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	ref := pushApp(t)
	id, err := b.PullImage(ctx, &runtimeapi.ImageSpec{Image: ref}, nil, nil)
	b.must(err)
	st, err := b.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: ref}, false)
	if err != nil || st.Image.GetId() != id {
		t.Errorf("got %v %v, want id %q", st, err, id)
	}
	if st, err := b.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: "no.such/image"}, false); err != nil || st.Image != nil {
		t.Errorf("got %v %v", st, err)
	}
	for _, name := range []string{v1alpha1.HostImage, v1alpha1.HostImage + ":latest"} {
		if id, err := b.PullImage(ctx, &runtimeapi.ImageSpec{Image: name}, nil, nil); err != nil || id != hostImage.Digest {
			t.Errorf("%s: got %q %v", name, id, err)
		}
	}
	images, err := b.ListImages(ctx, nil)
	if err != nil || len(images) != 2 {
		t.Errorf("got %v %v", images, err)
	}
	info, err := b.ImageFsInfo(ctx)
	if err != nil || info.ImageFilesystems[0].UsedBytes.GetValue() != 5 {
		t.Errorf("got %v %v", info, err)
	}
	if _, err := b.PullImage(ctx, &runtimeapi.ImageSpec{Image: strings.Replace(ref, "shop", "none", 1)}, nil, nil); err == nil {
		t.Error("an image that does not exist was pulled")
	}
}
