package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"testing/fstest"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/build"
	suite "sigs.k8s.io/gateway-api/conformance"
)

// echoPackage is the program that the suite's backends run.
const echoPackage = "sigs.k8s.io/gateway-api/conformance/echo-basic"

// pushEcho builds the suite's backend and pushes it to a registry. It returns the image by digest.
func pushEcho(t *testing.T, registry string) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "echo", "echo-basic")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, echoPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", echoPackage, err, out)
	}
	builder := build.Builder{Registry: registry}
	image, _, err := builder.Build(context.WithoutCancel(t.Context()), dir, v1alpha1.Source{Path: "echo"}, "conformance/echo-basic")
	if err != nil {
		t.Fatal(err)
	}
	return image
}

var (
	anyImage   = regexp.MustCompile(`(?m)^\s+image: \S+$`)
	echoImage  = regexp.MustCompile(`(?m)^(\s+)image: registry\.k8s\.io/gateway-api/echo-\S+$`)
	containers = regexp.MustCompile(`(?m)^(\s+)containers:$`)
)

// manifests are those of the suite, with backends that this platform can run.
func manifests(image string) (fs.FS, error) {
	changed := fstest.MapFS{}
	err := fs.WalkDir(&suite.Manifests, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(&suite.Manifests, path)
		if err != nil {
			return err
		}
		changed[path] = &fstest.MapFile{Data: withImage(content, image)}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the suite's manifests: %w", err)
	}
	return changed, nil
}

// withImage replaces the echo program's image. Workloads of other images are left out: those are the backends of UDPRoutes,
// which are not tested here, and the suite waits for all pods to be ready.
func withImage(manifest []byte, image string) []byte {
	var kept [][]byte
	for _, document := range bytes.Split(manifest, []byte("\n---\n")) {
		if !anyImage.Match(document) {
			kept = append(kept, document)
		} else if echoImage.Match(document) {
			document = echoImage.ReplaceAll(document, fmt.Appendf(nil, "${1}image: %s\n${1}command: [/app/echo-basic]", image))
			kept = append(kept, containers.ReplaceAll(document, []byte("${1}runtimeClassName: "+v1alpha1.RuntimeClassProcess+"\n${1}containers:")))
		}
	}
	return bytes.Join(kept, []byte("\n---\n"))
}
