package registry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// spool keeps the blobs that are being uploaded, one file each, named as the library named the upload.
type spool struct{ dir string }

var uploadName = regexp.MustCompile(`^[0-9]{1,20}$`)

// append takes one PATCH of an upload. A chunk that says where it starts must start where the last one ended.
func (s spool) append(w http.ResponseWriter, r *http.Request, id string) error {
	f, size, err := s.open(id, r.Header.Get("Content-Range"))
	if err != nil {
		refuse(w, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", err.Error())
		return err
	}
	defer f.Close()
	n, err := io.Copy(f, http.MaxBytesReader(w, r.Body, maxBlob-size))
	if err != nil {
		// Half a chunk is worth nothing: the client starts again where this one started.
		err = fmt.Errorf("receiving upload %q: %w", id, errors.Join(err, f.Truncate(size)))
		refuse(w, statusOf(err), "BLOB_UPLOAD_INVALID", err.Error())
		return err
	}
	w.Header().Set("Location", r.URL.Path)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(size+n-1, 0)))
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// open opens the upload's file at its end and tells how long it is.
func (s spool) open(id, contentRange string) (*os.File, int64, error) {
	if !uploadName.MatchString(id) {
		return nil, 0, fmt.Errorf("no upload %q", id)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, id), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	var start, end int64
	if contentRange != "" {
		_, err = fmt.Sscanf(strings.TrimPrefix(contentRange, "bytes "), "%d-%d", &start, &end)
		if err == nil && start != info.Size() {
			err = fmt.Errorf("the upload has %d bytes, the chunk starts at %d", info.Size(), start)
		}
		if err != nil {
			f.Close()
			return nil, 0, fmt.Errorf("content range %q: %w", contentRange, err)
		}
	}
	return f, info.Size(), nil
}

// commit hands the whole upload to the library, which checks its digest and stores it.
func (s spool) commit(w http.ResponseWriter, r *http.Request, id string, inner http.Handler) error {
	if !uploadName.MatchString(id) {
		err := fmt.Errorf("no upload %q", id)
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", err.Error())
		return err
	}
	path := filepath.Join(s.dir, id)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) { // the whole blob is in this request
		inner.ServeHTTP(w, r)
		return nil
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", err.Error())
		return fmt.Errorf("reading upload %q: %w", id, err)
	}
	defer func() { f.Close(); os.Remove(path) }()
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(io.MultiReader(f, r.Body))
	r.ContentLength = -1
	inner.ServeHTTP(w, r)
	return nil
}

func statusOf(err error) int {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusInternalServerError
}
