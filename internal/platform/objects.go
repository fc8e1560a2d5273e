package platform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/escale-dev/escale/api"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// fieldOwner is the platform's name in managed fields.
const fieldOwner = client.FieldOwner("escale")

// annotationSource is the hash of the file a definition was made from: an unchanged one is not applied again, which
// saves a second at every start.
const annotationSource = "escale.dev/source-hash"

// applyDefinitions installs the CustomResourceDefinitions this program serves and returns when all are served.
func applyDefinitions(ctx context.Context, c client.WithWatch) error {
	files, err := fs.Glob(api.Definitions, "crds/*.yaml")
	if err != nil {
		return fmt.Errorf("listing definitions: %w", err)
	}
	pending := map[string]bool{}
	for _, file := range files {
		crd, changed, err := applyDefinition(ctx, c, file)
		if err != nil {
			return err
		}
		if changed {
			pending[crd] = true
		}
	}
	return waitEstablished(ctx, c, pending)
}

func applyDefinition(ctx context.Context, c client.Client, file string) (name string, changed bool, err error) {
	b, err := api.Definitions.ReadFile(file)
	if err != nil {
		return "", false, fmt.Errorf("reading definition: %w", err)
	}
	sum := sha256.Sum256(b)
	hash := hex.EncodeToString(sum[:8])
	name, err = definitionName(file)
	if err != nil {
		return "", false, err
	}
	var have apiextensions.CustomResourceDefinition
	err = c.Get(ctx, client.ObjectKey{Name: name}, &have)
	if client.IgnoreNotFound(err) != nil {
		return "", false, fmt.Errorf("reading definition %q: %w", name, err)
	}
	if err == nil && have.Annotations[annotationSource] == hash {
		return name, false, nil
	}
	var u unstructured.Unstructured
	if err := yaml.Unmarshal(b, &u.Object); err != nil {
		return "", false, fmt.Errorf("decoding definition %q: %w", file, err)
	}
	a := u.GetAnnotations()
	a[annotationSource] = hash
	u.SetAnnotations(a)
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(&u), fieldOwner, client.ForceOwnership); err != nil {
		return "", false, fmt.Errorf("applying definition %q: %w", name, err)
	}
	return name, true, nil
}

// definitionName is the name of the definition in a file: "crds/GROUP_PLURAL.yaml" holds "PLURAL.GROUP".
func definitionName(file string) (string, error) {
	group, plural, ok := strings.Cut(strings.TrimSuffix(path.Base(file), ".yaml"), "_")
	if !ok {
		return "", fmt.Errorf("definition %q: want a file named GROUP_PLURAL.yaml", file)
	}
	return plural + "." + group, nil
}

// waitEstablished returns when the API server serves every pending definition.
func waitEstablished(ctx context.Context, c client.WithWatch, pending map[string]bool) error {
	if len(pending) == 0 {
		return nil
	}
	w, err := c.Watch(ctx, &apiextensions.CustomResourceDefinitionList{})
	if err != nil {
		return fmt.Errorf("watching definitions: %w", err)
	}
	defer w.Stop()
	for len(pending) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d definitions to be served: %w", len(pending), ctx.Err())
		case e, ok := <-w.ResultChan():
			if !ok {
				return fmt.Errorf("watching definitions: the API server closed the watch")
			}
			if crd, ok := e.Object.(*apiextensions.CustomResourceDefinition); ok && established(crd) {
				delete(pending, crd.Name)
			}
		}
	}
	return nil
}

func established(crd *apiextensions.CustomResourceDefinition) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensions.Established {
			return c.Status == apiextensions.ConditionTrue
		}
	}
	return false
}

// applyObjects brings the objects every cluster of Escale holds into being.
func applyObjects(ctx context.Context, c client.Client, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), fieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("applying %s %q: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}
