package node

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"unsafe"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/kubelet"
	"k8s.io/kubernetes/pkg/kubelet/prober"

	"github.com/escale-dev/escale/internal/engine/node/readiness"
)

// probes runs the probes of a starting pod as soon as they would succeed; the kubelet runs them once per period.
type probes struct {
	prober.Manager
	ready *readiness.Watcher
}

// UpdatePodStatus has the contract of the kubelet's, which calls it on every sync of a pod.
func (p probes) UpdatePodStatus(ctx context.Context, pod *v1.Pod, status *v1.PodStatus) {
	p.Manager.UpdatePodStatus(ctx, pod, status)
	p.ready.Observe(pod, status)
}

// StopLivenessAndStartup has the contract of the kubelet's; the pod is about to end.
func (p probes) StopLivenessAndStartup(pod *v1.Pod) {
	p.ready.Forget(pod.UID)
	p.Manager.StopLivenessAndStartup(pod)
}

// RemovePod has the contract of the kubelet's.
func (p probes) RemovePod(pod *v1.Pod) {
	p.ready.Forget(pod.UID)
	p.Manager.RemovePod(pod)
}

// CleanupPods has the contract of the kubelet's.
func (p probes) CleanupPods(desired map[types.UID]sets.Empty) {
	p.ready.Retain(func(uid types.UID) bool { _, ok := desired[uid]; return ok })
	p.Manager.CleanupPods(desired)
}

// hastenProbes puts probes around the kubelet's probe manager. A dependency to inject one by exists, but the results of
// one that was made elsewhere would not reach the kubelet; so the field is set by reflection, as for volumes.
func hastenProbes(k *kubelet.Kubelet) error {
	field := reflect.ValueOf(k).Elem().FieldByName("probeManager")
	if !field.IsValid() || field.Type() != reflect.TypeFor[prober.Manager]() {
		return errors.New("the kubelet has no probe manager to hasten: its type changed")
	}
	manager := (*prober.Manager)(unsafe.Pointer(field.UnsafeAddr()))
	hastened, err := newProbes(*manager, k.RequestPodRelist)
	if err != nil {
		return err
	}
	*manager = hastened
	return nil
}

// newProbes puts probes around a manager. relist makes the kubelet look at a pod's containers now.
func newProbes(manager prober.Manager, relist func(types.UID)) (probes, error) {
	w, err := workersOf(manager)
	if err != nil {
		return probes{}, err
	}
	return probes{manager, readiness.New(func(p readiness.Probe) {
		w.run(p)
		// What follows a probe waits for a look at the containers that is newer than the last sync of the pod; the
		// kubelet looks once a second.
		relist(p.Pod)
	})}, nil
}

// workers are the goroutines of the kubelet that probe. Each has a channel that makes it probe now, which the kubelet
// itself uses for readiness probes on every sync of a pod that is not ready, but not for startup probes.
type workers struct {
	lock *sync.RWMutex
	all  reflect.Value
}

var errOtherWorkers = errors.New("the kubelet's probes cannot be run by hand: their types changed")

// workersOf finds the workers of the kubelet's probe manager by reflection; the Kubernetes version is pinned, and a test
// notices if they go.
func workersOf(manager prober.Manager) (workers, error) {
	v := reflect.ValueOf(manager)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return workers{}, errOtherWorkers
	}
	lock, all := v.Elem().FieldByName("workerLock"), v.Elem().FieldByName("workers")
	if !lock.IsValid() || lock.Type() != reflect.TypeFor[sync.RWMutex]() || !all.IsValid() || !probesByName(all.Type()) {
		return workers{}, errOtherWorkers
	}
	return workers{(*sync.RWMutex)(unsafe.Pointer(lock.UnsafeAddr())), all}, nil
}

// probesByName says whether t is a map from the name of a probe to a worker that can be run by hand.
func probesByName(t reflect.Type) bool {
	if t.Kind() != reflect.Map || t.Key().Kind() != reflect.Struct || t.Elem().Kind() != reflect.Pointer {
		return false
	}
	for name, kind := range map[string]reflect.Kind{"podUID": reflect.String, "containerName": reflect.String, "probeType": reflect.Int} {
		if f, ok := t.Key().FieldByName(name); !ok || f.Type.Kind() != kind {
			return false
		}
	}
	if t.Elem().Elem().Kind() != reflect.Struct {
		return false
	}
	trigger, ok := t.Elem().Elem().FieldByName("manualTriggerCh")
	return ok && trigger.Type == reflect.TypeFor[chan struct{}]()
}

// The kubelet's numbers of the kinds of probes.
var probeTypes = map[readiness.Kind]int64{readiness.Readiness: 1, readiness.Startup: 2}

// run makes the kubelet run a probe now, if it has it.
func (w workers) run(p readiness.Probe) {
	w.lock.RLock()
	defer w.lock.RUnlock()
	for entries := w.all.MapRange(); entries.Next(); {
		key := entries.Key()
		if key.FieldByName("podUID").String() != string(p.Pod) || key.FieldByName("containerName").String() != p.Container ||
			key.FieldByName("probeType").Int() != probeTypes[p.Kind] {
			continue
		}
		trigger := entries.Value().Elem().FieldByName("manualTriggerCh")
		select {
		case *(*chan struct{})(unsafe.Pointer(trigger.UnsafeAddr())) <- struct{}{}:
		default: // it is about to run
		}
		return
	}
}
