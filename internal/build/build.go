package build

import (
	"context"
	"errors"
	"fmt"
	gobuild "go/build"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Builder builds images and pushes them to one registry. Its methods may be called at the same time.
type Builder struct {
	// Registry is host:port, with a prefix for repositories if wanted: "127.0.0.1:5050", "ghcr.io/acme".
	Registry string
	// Keychain has the credentials for the registry. Nil: those of `docker login`.
	Keychain authn.Keychain
	// Progress, when set, is told which step an App's build begins: "compiling", "packing", "pushing".
	Progress func(app, step string)
}

// Build makes the image of the App called app, "namespace/name", from src, whose path is relative to dir. It returns
// the image by digest, such as "127.0.0.1:5050/shop/payment@sha256:…", and the command that runs it, which is empty
// where only the App can know. Errors name the App; a failed compilation holds what the compiler printed.
func (b *Builder) Build(ctx context.Context, dir string, src v1alpha1.Source, app string) (image string, command []string, err error) {
	image, command, err = b.build(ctx, dir, src, app)
	if err != nil {
		return "", nil, fmt.Errorf("building App %q: %w", app, err)
	}
	return image, command, nil
}

func (b *Builder) build(ctx context.Context, dir string, src v1alpha1.Source, app string) (string, []string, error) {
	repo, err := name.NewRepository(b.Registry + "/" + app)
	if err != nil {
		return "", nil, fmt.Errorf("registry %q: %w", b.Registry, err)
	}
	folder, err := sourceFolder(dir, src.Path)
	if err != nil {
		return "", nil, err
	}
	tmp, err := os.MkdirTemp("", "escale-build-*")
	if err != nil {
		return "", nil, fmt.Errorf("making a folder to build in: %w", err)
	}
	defer os.RemoveAll(tmp)

	program, unlock, err := programFile(folder, tmp)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	files, command, err := b.files(ctx, folder, src.Build, app, program)
	if err != nil {
		return "", nil, err
	}
	b.progress(app, "packing")
	img, err := pack(files, command, arch(), filepath.Join(tmp, "layer.tar.gz"))
	if err != nil {
		return "", nil, err
	}
	b.progress(app, "pushing")
	digest, err := img.Digest()
	if err != nil {
		return "", nil, fmt.Errorf("computing the digest: %w", err)
	}
	// The tag keeps registries that clean up from taking the image for garbage; the App names the digest.
	tag := repo.Tag("escale-" + digest.Hex[:16])
	if err := remote.Write(tag, img, remote.WithContext(ctx), remote.WithAuthFromKeychain(b.keychain())); err != nil {
		return "", nil, fmt.Errorf("pushing to registry %q: %w", b.Registry, err)
	}
	return repo.Digest(digest.String()).String(), command, nil
}

// files builds the folder, a Go program to the path program, and lists what belongs into the image.
func (b *Builder) files(ctx context.Context, folder string, build []string, app, program string) ([]file, []string, error) {
	if len(build) == 0 && isGoProgram(folder) {
		b.progress(app, "compiling")
		if err := compile(ctx, folder, program); err != nil {
			return nil, nil, err
		}
		target := path.Base(app)
		return []file{{name: target, from: program, mode: modeProgram}}, []string{"/app/" + target}, nil
	}
	if len(build) > 0 {
		b.progress(app, "compiling")
		if err := run(ctx, folder, nil, build); err != nil {
			return nil, nil, err
		}
	}
	files, err := list(folder)
	return files, nil, err
}

func (b *Builder) progress(app, step string) {
	if b.Progress != nil {
		b.Progress(app, step)
	}
}

func (b *Builder) keychain() authn.Keychain {
	if b.Keychain != nil {
		return b.Keychain
	}
	return authn.DefaultKeychain
}

// sourceFolder is the absolute path of the folder, every symlink on the way resolved.
func sourceFolder(dir, src string) (string, error) {
	if filepath.IsAbs(src) {
		return "", fmt.Errorf("source %q: want a path relative to the file that holds the App", src)
	}
	folder, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(src)))
	if err != nil {
		return "", fmt.Errorf("source %q: %w", src, err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return "", fmt.Errorf("source %q: %w", src, err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("source %q is a file: name the folder that holds it", src)
	}
	return filepath.Abs(folder)
}

// isGoProgram tells whether folder holds package main. Go files that cannot be read as one package count as one: the
// compiler explains better what is wrong with them than a folder of source files that does not start.
func isGoProgram(folder string) bool {
	p, err := gobuild.ImportDir(folder, 0)
	var none *gobuild.NoGoError
	if errors.As(err, &none) {
		return false
	}
	return err != nil || p.Name == "main"
}

// arch is what the Go compiler builds for.
func arch() string {
	if a := os.Getenv("GOARCH"); a != "" {
		return a
	}
	return runtime.GOARCH
}
