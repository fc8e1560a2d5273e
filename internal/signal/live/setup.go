// Package live fills a store of signals from a cluster: it watches which workloads there are, reads what their pods use
// and who calls them, keeps the recording, and serves the metrics APIs.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/signal/calls"
	"github.com/escale-dev/escale/internal/signal/metricsapi"
	"github.com/escale-dev/escale/internal/signal/topology"
	"github.com/escale-dev/escale/internal/signal/usage"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Deps is what signals need from the platform.
type Deps struct {
	// Manager runs it. Its cache is shared: the kinds it watches for signals are those that other capabilities watch.
	Manager ctrl.Manager
	Kube    kubernetes.Interface
	// Groups says where the cgroup of a container of a node of this machine may be; nil when no node is on this machine.
	Groups func(node string, c topology.Container) []string
	// Recording is the folder that signals are recorded in; empty for none.
	Recording string
	// Metrics is the socket at which the API server reaches the metrics APIs; nil when they are not to be served. It is
	// closed with the manager.
	Metrics net.Listener
	Log     *slog.Logger
}

// Setup makes a store that the manager fills while it runs.
func Setup(ctx context.Context, d Deps) (*signal.Store, error) {
	index := topology.NewIndex()
	if err := index.Watch(ctx, d.Manager.GetCache()); err != nil {
		return nil, fmt.Errorf("setting up signals: %w", err)
	}
	source, closeSource := usageSource(d)
	tracker := usage.NewTracker(source, index)
	config := signal.Config{Topology: index, Usage: tracker}
	if d.Groups != nil {
		config.Calls = calls.New(index)
	}
	var recorder *signal.FileRecorder
	if d.Recording != "" {
		recorder = signal.NewFileRecorder(d.Recording, d.Log)
		config.Recorder = recorder
	}
	store := signal.New(config)
	index.Gone = store.PodForget
	if err := d.Manager.Add(everywhere{func(ctx context.Context) error {
		defer closeSource()
		err := store.Run(ctx)
		if recorder != nil {
			err = errors.Join(err, recorder.Close())
		}
		return err
	}}); err != nil {
		return nil, fmt.Errorf("setting up signals: %w", err)
	}
	return store, serveMetrics(d, store, index, tracker)
}

// usageSource reads the cgroups of this machine where it may, and else asks the kubelets.
func usageSource(d Deps) (usage.Source, func()) {
	kubelet := usage.NewKubelet(d.Kube.CoreV1().RESTClient(), d.Log)
	if d.Groups == nil {
		return kubelet, func() {}
	}
	groups, err := usage.NewCgroups(d.Groups)
	if err != nil {
		d.Log.Warn("use of pods is read from the kubelets: this machine has no cgroups", "err", err)
		return kubelet, func() {}
	}
	return usage.Local{Cgroups: groups, Kubelet: kubelet}, groups.Close
}

func serveMetrics(d Deps, store *signal.Store, index *topology.Index, tracker *usage.Tracker) error {
	if d.Metrics == nil {
		return nil
	}
	// What is registered is read once, so it is not worth a watch.
	direct, err := client.New(d.Manager.GetConfig(), client.Options{})
	if err != nil {
		return fmt.Errorf("setting up the metrics APIs: %w", err)
	}
	err = d.Manager.Add(metricsapi.New(metricsapi.Config{
		Listener: d.Metrics, Kube: d.Kube, Client: direct, Nodes: d.Manager.GetCache(),
		Store: store, Topology: index, Usage: tracker, Log: d.Log,
	}))
	if err != nil {
		return fmt.Errorf("setting up the metrics APIs: %w", err)
	}
	return nil
}

// everywhere is a part of the manager that needs no leader.
type everywhere struct{ run manager.RunnableFunc }

// Start implements manager.Runnable.
func (e everywhere) Start(ctx context.Context) error { return e.run(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (e everywhere) NeedLeaderElection() bool { return false }
