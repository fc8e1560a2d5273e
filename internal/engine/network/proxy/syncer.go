package proxy

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/kubernetes/pkg/proxy/nftables"
)

// nodeName is the node the proxy takes itself for.
const nodeName = "escale"

// syncer stands between the cluster and upstream's proxier: it shows it the cluster as seen from one node, and decides
// when rules are written.
//
// Upstream's own loop, SyncLoop, cannot be stopped, and so might write rules after they were removed. The syncer calls
// the one exported method that writes rules at once instead, OnServiceSynced, which may be called any number of times
// after the first list of Services and does nothing before endpoints have been listed too.
type syncer struct {
	*nftables.Proxier
	// listed is closed when the first list of Services is complete.
	listed chan struct{}
	// changed holds a value when rules have to be written.
	changed chan struct{}
}

func newSyncer(upstream *nftables.Proxier) *syncer {
	return &syncer{Proxier: upstream, listed: make(chan struct{}), changed: make(chan struct{}, 1)}
}

// loop writes rules when something changed, and checks them from time to time, until ctx ends.
func (s *syncer) loop(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-s.listed:
	}
	next := time.NewTimer(settleInterval)
	defer next.Stop()
	for {
		wait := checkInterval
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			wait = settleInterval
		case <-next.C:
		}
		s.Proxier.OnServiceSynced()
		next.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(minInterval):
		}
	}
}

func (s *syncer) touch() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// addressesChanged makes upstream read the machine's addresses again, which it does when it writes all rules.
func (s *syncer) addressesChanged() {
	s.OnTopologyChange(nil)
	s.touch()
}

// OnServiceSynced is called once, when the first list of Services is complete.
func (s *syncer) OnServiceSynced() {
	s.Proxier.OnServiceSynced()
	close(s.listed)
}

// OnServiceAdd implements config.ServiceHandler, as do the methods below.
func (s *syncer) OnServiceAdd(service *corev1.Service) {
	s.Proxier.OnServiceAdd(service)
	s.touch()
}

// OnServiceUpdate takes a change of a Service.
func (s *syncer) OnServiceUpdate(before, service *corev1.Service) {
	s.Proxier.OnServiceUpdate(before, service)
	s.touch()
}

// OnServiceDelete takes the end of a Service.
func (s *syncer) OnServiceDelete(service *corev1.Service) {
	s.Proxier.OnServiceDelete(service)
	s.touch()
}

// OnEndpointSliceAdd implements config.EndpointSliceHandler, as do the methods below.
func (s *syncer) OnEndpointSliceAdd(slice *discovery.EndpointSlice) {
	s.Proxier.OnEndpointSliceAdd(onOneNode(slice))
	s.touch()
}

// OnEndpointSliceUpdate takes a change of endpoints.
func (s *syncer) OnEndpointSliceUpdate(before, slice *discovery.EndpointSlice) {
	s.Proxier.OnEndpointSliceUpdate(before, onOneNode(slice))
	s.touch()
}

// OnEndpointSliceDelete takes the end of endpoints.
func (s *syncer) OnEndpointSliceDelete(slice *discovery.EndpointSlice) {
	s.Proxier.OnEndpointSliceDelete(onOneNode(slice))
	s.touch()
}

// onOneNode is slice with every endpoint that has a node on the proxy's.
func onOneNode(slice *discovery.EndpointSlice) *discovery.EndpointSlice {
	moved := *slice
	moved.Endpoints = slices.Clone(slice.Endpoints)
	name := nodeName
	for i := range moved.Endpoints {
		if moved.Endpoints[i].NodeName != nil {
			moved.Endpoints[i].NodeName = &name
		}
	}
	return &moved
}
