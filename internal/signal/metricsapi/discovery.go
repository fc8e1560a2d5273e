package metricsapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	metricsGroup  = "metrics.k8s.io"
	externalGroup = "external.metrics.k8s.io"
	version       = "v1beta1"
)

// apiGroup is a group that is served.
type apiGroup struct {
	name      string
	resources []metav1.APIResource
}

var groups = []apiGroup{
	{metricsGroup, []metav1.APIResource{
		{Name: "nodes", SingularName: "", Namespaced: false, Kind: kindNodeMetrics, Verbs: metav1.Verbs{"get", "list"}},
		{Name: "pods", SingularName: "", Namespaced: true, Kind: kindPodMetrics, Verbs: metav1.Verbs{"get", "list"}},
	}},
	// The names of external metrics are those of objects that come and go; who asks knows the name.
	{externalGroup, []metav1.APIResource{
		{Name: "externalmetrics", SingularName: "", Namespaced: true, Kind: "ExternalMetricValueList", Verbs: metav1.Verbs{"get"}},
	}},
}

func (g apiGroup) group() metav1.APIGroup {
	v := metav1.GroupVersionForDiscovery{GroupVersion: g.name + "/" + version, Version: version}
	return metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"},
		Name:     g.name, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v,
	}
}

func (g apiGroup) list() metav1.APIResourceList {
	return metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: g.name + "/" + version, APIResources: g.resources,
	}
}

var groupList = func() metav1.APIGroupList {
	list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, g := range groups {
		list.Groups = append(list.Groups, g.group())
	}
	return list
}()

// discovery answers in the form the aggregator merges into the API server's own, and in the older one to others.
func discovery(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList") {
		serve(w, http.StatusOK, groupList)
		return
	}
	w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	serve(w, http.StatusOK, discoveryList)
}

var discoveryList = func() apidiscoveryv2.APIGroupDiscoveryList {
	list := apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"},
	}
	for _, g := range groups {
		list.Items = append(list.Items, g.discovery())
	}
	return list
}()

func (g apiGroup) discovery() apidiscoveryv2.APIGroupDiscovery {
	v := apidiscoveryv2.APIVersionDiscovery{Version: version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
	for _, r := range g.resources {
		scope := apidiscoveryv2.ScopeCluster
		if r.Namespaced {
			scope = apidiscoveryv2.ScopeNamespace
		}
		v.Resources = append(v.Resources, apidiscoveryv2.APIResourceDiscovery{
			Resource: r.Name, SingularResource: r.SingularName, Scope: scope, Verbs: r.Verbs,
			ResponseKind: &metav1.GroupVersionKind{Group: g.name, Version: version, Kind: r.Kind},
		})
	}
	return apidiscoveryv2.APIGroupDiscovery{
		ObjectMeta: metav1.ObjectMeta{Name: g.name}, Versions: []apidiscoveryv2.APIVersionDiscovery{v},
	}
}

func serveJSON(object any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { serve(w, http.StatusOK, object) }
}

func serve(w http.ResponseWriter, code int, object any) {
	b, err := json.Marshal(object)
	if err != nil {
		http.Error(w, "answer not encoded", http.StatusInternalServerError)
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(code)
	_, _ = w.Write(b) // who asked may be gone
}

// serveError answers as the API server does.
func serveError(w http.ResponseWriter, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	s := known.Status()
	s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	serve(w, int(s.Code), s)
}
