package release

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/robfig/cron/v3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Labels of every rendered object, beside v1alpha1.LabelApp.
const (
	labelName      = "app.kubernetes.io/name"
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "escale"
)

// containerName is the name of the one container of a pod, and of its port.
const (
	containerName = "app"
	portName      = "http"
)

const (
	// nobody is the user and group of every pod: no one on the machine or in usual images has this number.
	nobody = 65532
	// drainSeconds is how long a pod with a port keeps serving after its deletion: see lifecycle.
	drainSeconds = 5
	// defaultStopSeconds is stopAfterSeconds where the App does not say.
	defaultStopSeconds = 30
	// startSeconds is how long a pod may take to its first good answer before it is started anew.
	startSeconds = 60
	// settleSeconds is how long a pod without a port must have run to count as ready: it has no other way to tell.
	settleSeconds = 3
)

// ErrNotBuilt says that an App has a source but no image yet.
var ErrNotBuilt = errors.New("its source is not built: run `escale deploy`, which builds it and names the image")

// RenderOptions are what Render needs beside the App.
type RenderOptions struct {
	// Namespace of an App that names none. Default "default".
	Namespace string
}

// Render is the App as plain upstream objects, in the order to apply them in. It is a pure function: the same App gives
// the same objects, so `escale render | kubectl apply -f -` is the same application. The error is ErrNotBuilt where a
// source has no image, else it names the field that has no meaning.
func Render(app v1alpha1.App, opts RenderOptions) ([]*unstructured.Unstructured, error) {
	objects, err := render(withNamespace(app, opts))
	if err != nil {
		return nil, fmt.Errorf("rendering App %q: %w", app.Name, err)
	}
	out := make([]*unstructured.Unstructured, 0, len(objects))
	for _, o := range objects {
		u, err := toUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("rendering App %q: %w", app.Name, err)
		}
		out = append(out, u)
	}
	return out, nil
}

// Revision is the revision the App renders to: eight hexadecimal digits that change exactly when its pods do.
func Revision(app v1alpha1.App) (string, error) {
	template, err := podTemplate(withNamespace(app, RenderOptions{}))
	if err != nil {
		return "", fmt.Errorf("rendering App %q: %w", app.Name, err)
	}
	return template.Labels[v1alpha1.LabelRevision], nil
}

func withNamespace(app v1alpha1.App, opts RenderOptions) v1alpha1.App {
	app.Namespace = cmp.Or(app.Namespace, opts.Namespace, metav1.NamespaceDefault)
	return app
}

func render(app v1alpha1.App) ([]runtime.Object, error) {
	template, err := podTemplate(app)
	if err != nil {
		return nil, err
	}
	objects := []runtime.Object{serviceAccount(app)}
	if app.Spec.Schedule != "" {
		job, err := cronJob(app, template)
		return append(objects, job), err
	}
	if app.Spec.Port != 0 {
		objects = append(objects, service(app))
	}
	if mostPods(app) > 1 {
		objects = append(objects, disruptionBudget(app))
	}
	objects = append(objects, deployment(app, template))
	if app.Spec.Scale != nil {
		objects = append(objects, scaledObject(app))
	}
	if app.Spec.Route != nil {
		objects = append(objects, httpRoute(app))
	}
	return objects, nil
}

func objectMeta(app v1alpha1.App) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: app.Name, Namespace: app.Namespace, Labels: map[string]string{
		labelName:         app.Name,
		labelManagedBy:    managedBy,
		v1alpha1.LabelApp: app.Name,
	}}
}

// selector is what a Deployment and a Service find their pods by. A Deployment's may never change, so it is the least
// that is enough.
func selector(app v1alpha1.App) map[string]string {
	return map[string]string{v1alpha1.LabelApp: app.Name}
}

func serviceAccount(app v1alpha1.App) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   objectMeta(app),
		AutomountServiceAccountToken: ptr.To(false),
	}
}

func service(app v1alpha1.App) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: objectMeta(app),
		Spec: corev1.ServiceSpec{
			Selector: selector(app),
			Ports: []corev1.ServicePort{{
				Name:       portName,
				Protocol:   corev1.ProtocolTCP,
				Port:       app.Spec.Port,
				TargetPort: intstr.FromString(portName),
			}},
		},
	}
}

// disruptionBudget lets one pod at a time go for maintenance. An App of one pod has none: it could never be moved.
func disruptionBudget(app v1alpha1.App) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: objectMeta(app),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable:             ptr.To(intstr.FromInt32(1)),
			Selector:                   &metav1.LabelSelector{MatchLabels: selector(app)},
			UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow),
		},
	}
}

// deployment starts a new pod before it stops an old one, so that the App never serves with less than it asks for. An
// App without replicas leaves the field to whoever scales the Deployment; the API server's default is 1.
func deployment(app v1alpha1.App, template corev1.PodTemplateSpec) *appsv1.Deployment {
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: objectMeta(app),
		Spec: appsv1.DeploymentSpec{
			Replicas: app.Spec.Replicas,
			Selector: &metav1.LabelSelector{MatchLabels: selector(app)},
			Template: template,
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxUnavailable: ptr.To(intstr.FromInt32(0)),
					MaxSurge:       ptr.To(intstr.FromString("25%")), // rounded up: at least one
				},
			},
		},
	}
	if app.Spec.Port == 0 {
		d.Spec.MinReadySeconds = settleSeconds
	}
	return d
}

func cronJob(app v1alpha1.App, template corev1.PodTemplateSpec) (*batchv1.CronJob, error) {
	if _, err := cron.ParseStandard(app.Spec.Schedule); err != nil {
		return nil, fmt.Errorf("schedule %q: %w", app.Spec.Schedule, err)
	}
	template.Spec.RestartPolicy = corev1.RestartPolicyNever // a failed pod stays, with its log
	return &batchv1.CronJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"},
		ObjectMeta: objectMeta(app),
		Spec: batchv1.CronJobSpec{
			Schedule:          app.Spec.Schedule,
			ConcurrencyPolicy: batchv1.ForbidConcurrent,
			JobTemplate: batchv1.JobTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: objectMeta(app).Labels},
				Spec:       batchv1.JobSpec{BackoffLimit: ptr.To[int32](2), Template: template},
			},
		},
	}, nil
}

// defaultGateway is where routes go that name no gateway.
const (
	gatewayNamespace = "escale-system"
	gatewayName      = "escale"
)

// DefaultGateway is the Gateway of routes that name none, which every cluster holds.
var DefaultGateway = types.NamespacedName{Namespace: gatewayNamespace, Name: gatewayName}

// gatewayOf is the Gateway that serves the App's route.
func gatewayOf(route v1alpha1.Route) (namespace, name string) {
	namespace, name, ok := strings.Cut(route.Gateway, "/")
	if !ok {
		return gatewayNamespace, gatewayName
	}
	return namespace, name
}

func httpRoute(app v1alpha1.App) *gatewayv1.HTTPRoute {
	route := *app.Spec.Route
	namespace, name := gatewayOf(route)
	r := &gatewayv1.HTTPRoute{
		TypeMeta:   metav1.TypeMeta{APIVersion: gatewayv1.GroupVersion.String(), Kind: "HTTPRoute"},
		ObjectMeta: objectMeta(app),
		Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{
				Group:     ptr.To(gatewayv1.Group(gatewayv1.GroupName)),
				Kind:      ptr.To(gatewayv1.Kind("Gateway")),
				Namespace: ptr.To(gatewayv1.Namespace(namespace)),
				Name:      gatewayv1.ObjectName(name),
			}}},
			Rules: []gatewayv1.HTTPRouteRule{{
				Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{
					Type:  ptr.To(gatewayv1.PathMatchPathPrefix),
					Value: ptr.To(routePath(route)),
				}}},
				BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
					BackendObjectReference: gatewayv1.BackendObjectReference{
						Group: ptr.To(gatewayv1.Group("")),
						Kind:  ptr.To(gatewayv1.Kind("Service")),
						Name:  gatewayv1.ObjectName(app.Name),
						Port:  ptr.To(app.Spec.Port),
					},
					Weight: ptr.To[int32](1),
				}}},
			}},
		},
	}
	if route.Host != "" {
		r.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(route.Host)}
	}
	return r
}

func routePath(route v1alpha1.Route) string { return cmp.Or(route.Path, "/") }

// revisionOf hashes what a pod is made from.
func revisionOf(template corev1.PodTemplateSpec) (string, error) {
	b, err := json.Marshal(template)
	if err != nil {
		return "", fmt.Errorf("hashing pod template: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:4]), nil
}

// toUnstructured leaves out what only a server writes.
func toUnstructured(o runtime.Object) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("converting %T: %w", o, err)
	}
	delete(m, "status")
	dropNull(m)
	return &unstructured.Unstructured{Object: m}, nil
}

// dropNull removes fields without a value, such as the creation times of templates, which would be applied as null.
func dropNull(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x == nil {
				delete(v, k)
				continue
			}
			dropNull(x)
		}
	case []any:
		for _, x := range v {
			dropNull(x)
		}
	}
}

func quantity(name, s string) (resource.Quantity, error) {
	q, err := resource.ParseQuantity(s)
	if err != nil {
		return q, fmt.Errorf("%s %q: want a quantity such as \"250m\" or \"256Mi\"", name, s)
	}
	return q, nil
}

// sortedStorage is in the order of the paths, so that the order in the file does not make a new revision.
func sortedStorage(storage []v1alpha1.Storage) []v1alpha1.Storage {
	return slices.SortedFunc(slices.Values(storage), func(a, b v1alpha1.Storage) int { return cmp.Compare(a.Path, b.Path) })
}
