package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/proxy/apis"
	"k8s.io/kubernetes/pkg/proxy/config"
	"k8s.io/kubernetes/pkg/proxy/nftables"
	proxyutil "k8s.io/kubernetes/pkg/proxy/util"

	"github.com/escale-dev/escale/internal/engine"
)

const (
	// minInterval is the time between two synchronisations; changes in between go together into the next.
	minInterval = 50 * time.Millisecond
	// settleInterval is the time after the last change at which rules are written once more. Upstream then removes chains
	// it had to keep for a second, and writes everything again if the last time failed, of which it does not tell.
	settleInterval = 1200 * time.Millisecond
	// checkInterval is the time after which rules are checked although nothing changed.
	checkInterval = 30 * time.Second
	// masqueradeBit is the bit of packet marks that upstream uses for what it masquerades.
	masqueradeBit = 14
)

// Run serves the Services of the cluster that kubeconfig names until ctx ends, in the network namespace of the process,
// where network.Setup has run. It removes its rules before it returns.
func Run(ctx context.Context, kubeconfig *rest.Config, plan engine.Network, log *slog.Logger) error {
	compact := rest.CopyConfig(kubeconfig)
	compact.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(compact)
	if err != nil {
		return fmt.Errorf("service proxy: making a client: %w", err)
	}
	return run(ctx, client, plan, log)
}

func run(ctx context.Context, client kubernetes.Interface, plan engine.Network, log *slog.Logger) error {
	ctx = klog.NewContext(ctx, logger(log))
	upstream, err := newProxier(ctx, plan)
	if err != nil {
		return fmt.Errorf("service proxy: %w", err)
	}
	s := newSyncer(upstream)
	defer nftables.CleanupLeftovers(context.WithoutCancel(ctx))
	stop, err := watchAddresses(plan, s.addressesChanged)
	if err != nil {
		return fmt.Errorf("service proxy: %w", err)
	}
	defer stop()
	wait := watchCluster(ctx, client, s)
	s.loop(ctx)
	wait()
	return nil
}

// logger passes on upstream's errors and hides what it says at every start.
func logger(log *slog.Logger) klog.Logger {
	return logr.FromSlogHandler(log.Handler()).V(1)
}

func newProxier(ctx context.Context, plan engine.Network) (*nftables.Proxier, error) {
	local := proxyutil.NewDetectLocalByCIDR(plan.Pods.String())
	// The periods are those of upstream's own loop, which is not used.
	return nftables.NewProxier(ctx, corev1.IPv4Protocol, checkInterval, minInterval, false, masqueradeBit, local,
		nodeName, plan.Host().AsSlice(), nil, nil, []string{plan.Pods.String()}, false)
}

// watchCluster feeds Services and their endpoints to s. The result waits until that has ended, after ctx has.
func watchCluster(ctx context.Context, client kubernetes.Interface, s *syncer) (wait func()) {
	watch := func(tweak func(*metav1.ListOptions)) informers.SharedInformerFactory {
		return informers.NewSharedInformerFactoryWithOptions(client, 0,
			informers.WithTweakListOptions(tweak), informers.WithTransform(withoutManagedFields))
	}
	services := watch(func(o *metav1.ListOptions) {
		o.LabelSelector = "!" + apis.LabelServiceProxyName
		o.FieldSelector = fields.OneTermNotEqualSelector("spec.clusterIP", corev1.ClusterIPNone).String()
	})
	endpoints := watch(func(o *metav1.ListOptions) { o.LabelSelector = "!" + corev1.IsHeadlessService })

	serviceConfig := config.NewServiceConfig(ctx, services.Core().V1().Services(), 0)
	serviceConfig.RegisterEventHandler(s)
	endpointConfig := config.NewEndpointSliceConfig(ctx, endpoints.Discovery().V1().EndpointSlices(), 0)
	endpointConfig.RegisterEventHandler(s)
	var first sync.WaitGroup
	first.Go(func() { serviceConfig.Run(ctx.Done()) })
	first.Go(func() { endpointConfig.Run(ctx.Done()) })
	services.Start(ctx.Done())
	endpoints.Start(ctx.Done())
	return func() {
		services.Shutdown()
		endpoints.Shutdown()
		first.Wait()
	}
}

// withoutManagedFields drops what nobody reads from cached objects.
func withoutManagedFields(obj any) (any, error) {
	if o, err := meta.Accessor(obj); err == nil {
		o.SetManagedFields(nil)
	}
	return obj, nil
}

// watchAddresses calls changed when the machine gets or loses an address of the plan, which is when a node comes or
// goes: NodePorts answer on it.
func watchAddresses(plan engine.Network, changed func()) (stop func(), err error) {
	updates, done := make(chan netlink.AddrUpdate), make(chan struct{})
	if err := netlink.AddrSubscribe(updates, done); err != nil {
		return nil, fmt.Errorf("watching the machine's addresses: %w", err)
	}
	go func() {
		for u := range updates {
			if a, ok := netip.AddrFromSlice(u.LinkAddress.IP); ok && plan.Pods.Contains(a.Unmap()) {
				changed()
			}
		}
	}()
	return func() { close(done) }, nil
}
