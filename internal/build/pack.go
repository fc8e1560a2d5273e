package build

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is the identity of every App's pods, which never are root.
const user = "65532"

// pack writes the files as one layer to the path layer, which must stay until the image is pushed, and returns the
// image. Files are in the order given.
func pack(files []file, command []string, arch, layer string) (v1.Image, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("the source holds no files")
	}
	if err := writeLayer(files, layer); err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	l, err := tarball.LayerFromFile(layer, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err = mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: arch,
		OS:           "linux",
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{WorkingDir: "/app", Entrypoint: command, User: user},
	})
	if err != nil {
		return nil, fmt.Errorf("describing the image: %w", err)
	}
	img, err := mutate.Append(base, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "escale"}})
	if err != nil {
		return nil, fmt.Errorf("describing the image: %w", err)
	}
	return img, nil
}

func writeLayer(files []file, layer string) (err error) {
	out, err := os.Create(layer)
	if err != nil {
		return err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
	}()
	// The image is unpacked on this machine more often than it crosses a network: speed before size.
	zip, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := tar.NewWriter(zip)
	if err := writeEntry(w, file{mode: os.ModeDir | modeProgram}); err != nil {
		return err
	}
	for _, f := range files {
		if err := writeEntry(w, f); err != nil {
			return fmt.Errorf("file %q: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return zip.Close()
}

// writeEntry writes one entry without anything that building again would change.
func writeEntry(w *tar.Writer, f file) error {
	h := &tar.Header{Name: "app/" + f.name, Mode: int64(f.mode.Perm()), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case f.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		return w.WriteHeader(h)
	case f.mode.IsDir():
		h.Typeflag = tar.TypeDir
		if f.name != "" {
			h.Name += "/"
		}
		return w.WriteHeader(h)
	}
	in, err := os.Open(f.from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	// Exactly the size announced, even where the file grows meanwhile; a file that shrinks is an error.
	_, err = io.CopyN(w, in, h.Size)
	return err
}
