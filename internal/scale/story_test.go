package scale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine/enginetest"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"
)

// story is a scaler on a real API server, with a namespace of its own and facts that the test tells.
type story struct {
	t         *testing.T
	config    *rest.Config
	scheme    *kruntime.Scheme
	client    client.Client
	namespace string
	timeline  *timeline.Timeline
	signals   *signal.Store
	world     *world
}

// world is what the signal store gathers from: a data plane and a topology in one, told by the test.
type world struct {
	mu       sync.Mutex
	inFlight map[types.NamespacedName]float64
	replicas map[signal.Workload]signal.Replicas
	calls    []signal.Call
}

func (w *world) Traffic() []signal.Traffic {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []signal.Traffic
	for service, n := range w.inFlight {
		out = append(out, signal.Traffic{Service: service, Port: 80, InFlight: int64(n)})
	}
	return out
}

func (w *world) Backends(service types.NamespacedName) []signal.Backend {
	return []signal.Backend{{Workload: signal.Workload{Kind: "Deployment", Namespace: service.Namespace, Name: service.Name}, Share: 1}}
}

func (w *world) Each(f func(signal.Workload, signal.Replicas)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for workload, r := range w.replicas {
		f(workload, r)
	}
}

func (w *world) Callers(context.Context, signal.Workload) ([]signal.Call, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls), nil
}

func startStory(t *testing.T) *story {
	t.Helper()
	s := &story{t: t, config: enginetest.Start(t), scheme: kruntime.NewScheme(), world: &world{
		inFlight: map[types.NamespacedName]float64{}, replicas: map[signal.Workload]signal.Replicas{},
	}}
	for _, add := range []func(*kruntime.Scheme) error{clientscheme.AddToScheme, kedav1alpha1.AddToScheme, v1alpha1.AddToScheme} {
		utilruntime.Must(add(s.scheme))
	}
	var err error
	if s.client, err = client.New(s.config, client.Options{Scheme: s.scheme}); err != nil {
		t.Fatal(err)
	}
	if s.timeline, err = timeline.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.timeline.Close() })
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "scale-"}}
	s.create(ns)
	s.namespace = ns.Name
	s.signals = signal.New(signal.Config{Topology: s.world, Calls: s.world})
	s.signals.AddTraffic(s.world)
	s.run()
	return s
}

// run starts a scaler for the rest of the test.
func (s *story) run() {
	s.t.Helper()
	m, err := ctrl.NewManager(s.config, manager.Options{
		Scheme: s.scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Logger: logr.Discard(),
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = Setup(Deps{
		Manager: m, Kube: kube, Signals: s.signals, Timeline: s.timeline, Namespace: s.namespace, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = s.signals.Run(ctx) })
	tasks.Go(func() {
		if err := m.Start(ctx); err != nil {
			s.t.Errorf("the manager stopped with: %v", err)
		}
	})
	s.t.Cleanup(func() {
		cancel()
		tasks.Wait()
	})
}

func (s *story) create(o client.Object) {
	s.t.Helper()
	if err := s.client.Create(context.Background(), o); err != nil {
		s.t.Fatalf("creating %T %q: %v", o, o.GetName(), err)
	}
	s.t.Cleanup(func() { _ = s.client.Delete(context.Background(), o) })
}

// apply creates objects of the story's namespace from YAML.
func apply[T any](s *story, text string) *T {
	s.t.Helper()
	var o T
	if err := yaml.UnmarshalStrict([]byte(text), &o); err != nil {
		s.t.Fatalf("%v in:\n%s", err, text)
	}
	object := any(&o).(client.Object)
	object.SetNamespace(s.namespace)
	s.create(object)
	return &o
}

// deployment creates a Deployment with a number of pods, which no node runs.
func (s *story) deployment(name string, replicas int) {
	s.t.Helper()
	apply[appsv1.Deployment](s, fmt.Sprintf(`
metadata: {name: %s}
spec:
  replicas: %d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - name: app
        image: none
        env: [{name: PLAIN, value: "1"}]
`, name, replicas))
}

// load tells how many requests a Deployment's Service has in flight.
func (s *story) load(name string, inFlight float64) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.inFlight[types.NamespacedName{Namespace: s.namespace, Name: name}] = inFlight
}

// eventually waits until f holds.
func (s *story) eventually(what string, f func(context.Context) error) {
	s.t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, 60*time.Second, true, func(ctx context.Context) (bool, error) {
		last = f(ctx)
		return last == nil, nil
	})
	if err != nil {
		s.t.Fatalf("%s: %v", what, last)
	}
}

func (s *story) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: name}
}

// wantPods waits until a Deployment's spec asks for a number of pods.
func (s *story) wantPods(name string, want int32) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("Deployment %q with %d pods", name, want), func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := s.client.Get(ctx, s.key(name), &d); err != nil {
			return err
		}
		if *d.Spec.Replicas != want {
			return fmt.Errorf("it has %d: %s", *d.Spec.Replicas, s.conditions(ctx, name))
		}
		return nil
	})
}

func (s *story) conditions(ctx context.Context, name string) string {
	var o kedav1alpha1.ScaledObject
	if err := s.client.Get(ctx, s.key(name), &o); err != nil {
		return err.Error()
	}
	b, err := json.Marshal(o.Status)
	return fmt.Sprint(string(b), err)
}

// wantCondition waits until a ScaledObject has a condition with a status and words in its message.
func (s *story) wantCondition(name, kind string, status metav1.ConditionStatus, words ...string) kedav1alpha1.ScaledObject {
	s.t.Helper()
	var o kedav1alpha1.ScaledObject
	s.eventually(fmt.Sprintf("ScaledObject %q with condition %s %s %q", name, kind, status, words), func(ctx context.Context) error {
		if err := s.client.Get(ctx, s.key(name), &o); err != nil {
			return err
		}
		c := o.Status.Conditions.Get(kind)
		if c.Status != status {
			return fmt.Errorf("it has %+v", o.Status.Conditions)
		}
		for _, w := range words {
			if !strings.Contains(c.Reason+": "+c.Message, w) {
				return fmt.Errorf("it has %+v", c)
			}
		}
		return nil
	})
	return o
}

// requests is a ScaledObject that takes 10 requests in flight a pod.
func requests(name, more string) string {
	return fmt.Sprintf(`
metadata: {name: %s}
spec:
  scaleTargetRef: {name: %[1]s}
  maxReplicaCount: 20
  triggers:
  - type: requests
    metadata: {targetValue: "10"}
%s`, name, more)
}

// annotate sets or, with an empty value, removes an annotation.
func (s *story) annotate(o client.Object, name, value string) {
	s.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, name, value)
	if value == "" {
		patch = fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, name)
	}
	if err := s.client.Patch(context.Background(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		s.t.Fatal(err)
	}
}

var errNone = errors.New("none yet")
