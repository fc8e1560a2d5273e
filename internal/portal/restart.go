package portal

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web"
)

// restartedAt is the annotation by which kubectl rollout restart makes a new revision of a Deployment.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// fieldOwner is the portal among the writers of an object.
const fieldOwner = client.FieldOwner("escale-portal")

// restart replaces the pods of an App, as kubectl rollout restart does.
func (p *portal) restart(r *http.Request) (web.Done, error) {
	namespace, name := r.PathValue("namespace"), r.PathValue("name")
	deployments, err := p.deploymentsOf(r.Context(), namespace, name)
	if err != nil {
		return web.Done{}, err
	}
	if len(deployments) == 0 {
		return web.Done{}, &web.Error{Code: http.StatusConflict,
			Message: fmt.Sprintf("App %q has no Deployment to restart.", name), Next: "A job starts anew by itself, at its next time."}
	}
	patch, err := restartPatch(time.Now())
	if err != nil {
		return web.Done{}, fmt.Errorf("restarting app %q: %w", name, err)
	}
	for i := range deployments {
		if err := p.writer.Patch(r.Context(), &deployments[i], client.RawPatch(types.StrategicMergePatchType, patch), fieldOwner); err != nil {
			return web.Done{}, fmt.Errorf("restarting app %q: %w", name, err)
		}
	}
	p.timeline.Add(timeline.Record{Actor: "portal", Action: "restarted", Reason: "A person asked for it on the app's page.",
		Object: timeline.Object{Kind: "App", Namespace: namespace, Name: name}})
	return web.Done{Message: fmt.Sprintf("Restarting %s: its pods are replaced one after the other.", name),
		Page: "/apps/" + namespace + "/" + name}, nil
}

func (p *portal) deploymentsOf(ctx context.Context, namespace, name string) ([]appsv1.Deployment, error) {
	var list appsv1.DeploymentList
	err := p.reader.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelApp: name})
	if err != nil {
		return nil, fmt.Errorf("reading deployments of app %q: %w", name, err)
	}
	return list.Items, nil
}

func restartPatch(at time.Time) ([]byte, error) {
	type object = map[string]any
	return json.Marshal(object{"spec": object{"template": object{"metadata": object{
		"annotations": object{restartedAt: at.UTC().Format(time.RFC3339)}}}}})
}
