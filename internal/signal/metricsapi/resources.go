package metricsapi

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/signal/usage"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	externalv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	kindNodeMetrics = "NodeMetrics"
	kindPodMetrics  = "PodMetrics"
)

// selection is what a list is asked for.
type selection struct {
	labels labels.Selector
	fields fields.Selector
}

// selected reads the selectors of a request. Those that cannot be served are refused, as is a watch.
func selected(r *http.Request) (selection, error) {
	q := r.URL.Query()
	if w := q.Get("watch"); w == "true" || w == "1" {
		return selection{}, apierrors.NewMethodNotSupported(schema.GroupResource{Group: metricsGroup, Resource: "metrics"}, "watch")
	}
	s := selection{}
	var err error
	if s.labels, err = labels.Parse(q.Get("labelSelector")); err != nil {
		return s, apierrors.NewBadRequest(fmt.Sprintf("labelSelector: %v", err))
	}
	if s.fields, err = fields.ParseSelector(q.Get("fieldSelector")); err != nil {
		return s, apierrors.NewBadRequest(fmt.Sprintf("fieldSelector: %v", err))
	}
	for _, f := range s.fields.Requirements() {
		if f.Field != "metadata.name" && f.Field != "metadata.namespace" {
			return s, apierrors.NewBadRequest(fmt.Sprintf("fieldSelector: field %q is not served here; metadata.name and metadata.namespace are", f.Field))
		}
	}
	return s, nil
}

func (s selection) takes(name types.NamespacedName, have labels.Set) bool {
	return s.labels.Matches(have) && s.fields.Matches(fields.Set{"metadata.name": name.Name, "metadata.namespace": name.Namespace})
}

// settle makes the facts new. Where nobody had asked for a while there is one sample only, and processor use needs two.
func (s *Server) settle(ctx context.Context) {
	s.cfg.Store.Refresh(ctx)
	if s.cfg.Usage.Settled() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*signal.Pace)
	defer cancel()
	ticks := s.cfg.Store.Subscribe(ctx)
	for range ticks {
		if s.cfg.Usage.Settled() {
			return
		}
	}
}

func (s *Server) listPods(w http.ResponseWriter, r *http.Request) {
	want, err := selected(r)
	if err != nil {
		serveError(w, err)
		return
	}
	s.settle(r.Context())
	list := metricsv1beta1.PodMetricsList{
		TypeMeta: metav1.TypeMeta{Kind: kindPodMetrics + "List", APIVersion: metricsGroup + "/" + version},
		Items:    []metricsv1beta1.PodMetrics{},
	}
	for _, m := range s.cfg.Usage.Pods(r.PathValue("namespace")) {
		p, ok := s.cfg.Topology.Pod(m.Name)
		if ok && want.takes(m.Name, p.Labels) {
			list.Items = append(list.Items, podMetrics(m, p.Labels))
		}
	}
	serve(w, http.StatusOK, list)
}

func (s *Server) getPod(w http.ResponseWriter, r *http.Request) {
	s.settle(r.Context())
	name := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	m, ok := s.cfg.Usage.Pod(name)
	p, there := s.cfg.Topology.Pod(name)
	if !ok || !there {
		serveError(w, apierrors.NewNotFound(schema.GroupResource{Group: metricsGroup, Resource: "pods"}, name.String()))
		return
	}
	out := podMetrics(m, p.Labels)
	out.TypeMeta = metav1.TypeMeta{Kind: kindPodMetrics, APIVersion: metricsGroup + "/" + version}
	serve(w, http.StatusOK, out)
}

func podMetrics(m usage.Measured, have labels.Set) metricsv1beta1.PodMetrics {
	out := metricsv1beta1.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.Name.Namespace, Name: m.Name.Name, Labels: have, CreationTimestamp: metav1.Now()},
		Timestamp:  metav1.NewTime(m.At), Window: metav1.Duration{Duration: m.Window},
	}
	for _, c := range m.Containers {
		out.Containers = append(out.Containers, metricsv1beta1.ContainerMetrics{Name: c.Name, Usage: used(c)})
	}
	return out
}

// used is in nanocores and bytes, as metrics-server tells it.
func used(c usage.MeasuredContainer) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(math.Ceil(c.CPU*1e9)), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(min(c.Memory, math.MaxInt64)), resource.BinarySI),
	}
}

func (s *Server) listNodes(w http.ResponseWriter, r *http.Request) {
	want, err := selected(r)
	if err != nil {
		serveError(w, err)
		return
	}
	s.settle(r.Context())
	var nodes corev1.NodeList
	if err := s.cfg.Nodes.List(r.Context(), &nodes, client.UnsafeDisableDeepCopy); err != nil {
		serveError(w, err)
		return
	}
	list := metricsv1beta1.NodeMetricsList{
		TypeMeta: metav1.TypeMeta{Kind: kindNodeMetrics + "List", APIVersion: metricsGroup + "/" + version},
		Items:    []metricsv1beta1.NodeMetrics{},
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if !want.takes(types.NamespacedName{Name: n.Name}, n.Labels) {
			continue
		}
		if m, ok := s.cfg.Usage.Node(n.Name); ok {
			list.Items = append(list.Items, nodeMetrics(m, n))
		}
	}
	serve(w, http.StatusOK, list)
}

func (s *Server) getNode(w http.ResponseWriter, r *http.Request) {
	s.settle(r.Context())
	name := r.PathValue("name")
	var n corev1.Node
	if err := s.cfg.Nodes.Get(r.Context(), client.ObjectKey{Name: name}, &n); err != nil {
		serveError(w, err)
		return
	}
	m, ok := s.cfg.Usage.Node(name)
	if !ok {
		serveError(w, apierrors.NewNotFound(schema.GroupResource{Group: metricsGroup, Resource: "nodes"}, name))
		return
	}
	out := nodeMetrics(m, &n)
	out.TypeMeta = metav1.TypeMeta{Kind: kindNodeMetrics, APIVersion: metricsGroup + "/" + version}
	serve(w, http.StatusOK, out)
}

func nodeMetrics(m usage.Measured, n *corev1.Node) metricsv1beta1.NodeMetrics {
	return metricsv1beta1.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels, CreationTimestamp: metav1.Now()},
		Timestamp:  metav1.NewTime(m.At), Window: metav1.Duration{Duration: m.Window}, Usage: used(m.Containers[0]),
	}
}

func (s *Server) external(w http.ResponseWriter, r *http.Request) {
	want, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		serveError(w, apierrors.NewBadRequest(fmt.Sprintf("labelSelector: %v", err)))
		return
	}
	namespace, name := r.PathValue("namespace"), r.PathValue("metric")
	values, err := s.cfg.Store.External(r.Context(), namespace, name, want)
	if err != nil {
		serveError(w, err)
		return
	}
	if len(values) == 0 {
		serveError(w, apierrors.NewNotFound(schema.GroupResource{Group: externalGroup, Resource: name}, want.String()))
		return
	}
	list := externalv1beta1.ExternalMetricValueList{
		TypeMeta: metav1.TypeMeta{Kind: "ExternalMetricValueList", APIVersion: externalGroup + "/" + version},
	}
	for _, v := range values {
		item := externalv1beta1.ExternalMetricValue{
			MetricName: name, MetricLabels: v.Labels, Timestamp: metav1.NewTime(v.At), Value: quantity(v.Value),
		}
		if v.Window > 0 {
			seconds := int64(v.Window / time.Second)
			item.WindowSeconds = &seconds
		}
		list.Items = append(list.Items, item)
	}
	serve(w, http.StatusOK, list)
}

// quantity keeps thousandths of values that have room for them.
func quantity(v float64) resource.Quantity {
	if math.Abs(v) < 1<<50 {
		return *resource.NewMilliQuantity(int64(math.Round(v*1000)), resource.DecimalSI)
	}
	return *resource.NewQuantity(int64(min(max(v, math.MinInt64), math.MaxInt64/2)), resource.DecimalSI)
}
