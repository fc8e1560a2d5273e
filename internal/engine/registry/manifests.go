package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The distribution specification's grammar of repository names and tags.
var (
	repoName = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	tagName  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// manifest is one manifest as it was pushed.
type manifest struct {
	Repo   string `json:"repo"`
	Target string `json:"target"` // a tag or a digest
	Type   string `json:"type"`
	Body   []byte `json:"body"`
}

// check refuses what could not be pulled again under the name it is pushed with.
func (m manifest) check() error {
	switch {
	case len(m.Repo) > 255 || !repoName.MatchString(m.Repo):
		return fmt.Errorf("%q is no name of a repository", m.Repo)
	case !json.Valid(m.Body):
		return fmt.Errorf("manifest %q is not JSON", m.Target)
	case strings.Contains(m.Target, ":"):
		want, err := v1.NewHash(m.Target)
		if err != nil {
			return fmt.Errorf("digest %q: %w", m.Target, err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(m.Body)); got != want.Hex {
			return fmt.Errorf("the manifest has digest sha256:%s, not %s", got, m.Target)
		}
	case !tagName.MatchString(m.Target):
		return fmt.Errorf("%q is neither a tag nor a digest", m.Target)
	}
	return nil
}

// putManifest has the library take the manifest, then keeps it, and acknowledges it last.
func (h *handler) putManifest(w http.ResponseWriter, r *http.Request, p place) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		refuse(w, statusOf(err), "SIZE_INVALID", err.Error())
		return fmt.Errorf("receiving manifest %q: %w", p.target, err)
	}
	m := manifest{Repo: p.repo, Target: p.target, Type: r.Header.Get("Content-Type"), Body: body}
	if err := m.check(); err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
		return err
	}
	answer := put(h.inner, m)
	if answer.status == http.StatusCreated {
		if err := h.manifests.write(m); err != nil {
			refuse(w, http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", err.Error())
			return fmt.Errorf("keeping manifest %q of %q: %w", m.Target, m.Repo, err)
		}
	}
	answer.send(w)
	return nil
}

// journal keeps one file per repository and target. The library holds manifests in memory and forgets them with the
// process, so they are pushed to it again at the start.
type journal struct{ dir string }

func (j journal) write(m manifest) error {
	name := fmt.Sprintf("%x.json", sha256.Sum256([]byte(m.Repo+"\x00"+m.Target)))
	return writeFile(filepath.Join(j.dir, name), func(w io.Writer) error { return json.NewEncoder(w).Encode(m) })
}

// replay pushes every kept manifest to inner: images first, then the indexes that name them, and indexes of indexes as
// soon as what they name is there.
func (j journal) replay(inner http.Handler) error {
	images, indexes, err := j.read()
	if err != nil {
		return err
	}
	for _, m := range images {
		if a := put(inner, m); a.status != http.StatusCreated {
			return fmt.Errorf("manifest %q of %q: %s", m.Target, m.Repo, a.body.String())
		}
	}
	for len(indexes) > 0 {
		var waiting []manifest
		for _, m := range indexes {
			if put(inner, m).status != http.StatusCreated {
				waiting = append(waiting, m)
			}
		}
		if len(waiting) == len(indexes) {
			m := waiting[0]
			return fmt.Errorf("index %q of %q: %s", m.Target, m.Repo, put(inner, m).body.String())
		}
		indexes = waiting
	}
	return nil
}

func (j journal) read() (images, indexes []manifest, err error) {
	paths, err := filepath.Glob(filepath.Join(j.dir, "*.json"))
	if err != nil {
		return nil, nil, err
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		m, err := decode(b)
		if err != nil {
			return nil, nil, fmt.Errorf("file %q: %w", path, err)
		}
		if types.MediaType(m.Type).IsIndex() {
			indexes = append(indexes, m)
		} else {
			images = append(images, m)
		}
	}
	return images, indexes, nil
}

// decode reads a file of the journal.
func decode(b []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return manifest{}, err
	}
	return m, m.check()
}

// put pushes m to the library's registry and returns its answer.
func put(inner http.Handler, m manifest) *answer {
	r, err := http.NewRequest(http.MethodPut, "/v2/"+m.Repo+"/manifests/"+m.Target, bytes.NewReader(m.Body))
	a := &answer{header: http.Header{}, status: http.StatusOK}
	if err != nil { // check admits no name that could not be part of a URL
		a.status = http.StatusBadRequest
		a.body.WriteString(err.Error())
		return a
	}
	r.Header.Set("Content-Type", m.Type)
	inner.ServeHTTP(a, r)
	return a
}

// answer holds a response back until what it promises is on disk.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

func (a *answer) send(w http.ResponseWriter) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	// A client that has gone away loses the answer, not the manifest.
	_, _ = w.Write(a.body.Bytes())
}
