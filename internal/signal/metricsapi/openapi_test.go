package metricsapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"

	externalv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

func get(t *testing.T, h http.Handler, path string, into any) string {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", "application/json")
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return w.Body.String()
}

func described(t *testing.T) *http.ServeMux {
	t.Helper()
	mux := http.NewServeMux()
	if err := describe(mux); err != nil {
		t.Fatal(err)
	}
	return mux
}

func TestTheDescriptionHasTheFieldsOfTheKinds(t *testing.T) {
	var doc struct {
		Definitions map[string]struct {
			Properties map[string]any
		}
	}
	get(t, described(t), "/openapi/v2", &doc)
	for name, kind := range map[string]any{
		"metrics.v1beta1.NodeMetrics": metricsv1beta1.NodeMetrics{}, "metrics.v1beta1.NodeMetricsList": metricsv1beta1.NodeMetricsList{},
		"metrics.v1beta1.PodMetrics": metricsv1beta1.PodMetrics{}, "metrics.v1beta1.PodMetricsList": metricsv1beta1.PodMetricsList{},
		"metrics.v1beta1.ContainerMetrics":                 metricsv1beta1.ContainerMetrics{},
		"external_metrics.v1beta1.ExternalMetricValue":     externalv1beta1.ExternalMetricValue{},
		"external_metrics.v1beta1.ExternalMetricValueList": externalv1beta1.ExternalMetricValueList{},
	} {
		have := doc.Definitions["io.k8s.metrics.pkg.apis."+name].Properties
		want := jsonFields(reflect.TypeOf(kind))
		if len(have) != len(want) {
			t.Errorf("%s is described with %d fields, has %v", name, len(have), want)
		}
		for _, f := range want {
			if have[f] == nil {
				t.Errorf("%s: field %q is not described", name, f)
			}
		}
	}
}

// jsonFields are the names that a type has in JSON.
func jsonFields(kind reflect.Type) (names []string) {
	for i := range kind.NumField() {
		f := kind.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && options == "inline" {
			names = append(names, jsonFields(f.Type)...)
			continue
		}
		names = append(names, name)
	}
	return names
}

func TestEachGroupHasADescriptionOfItsOwn(t *testing.T) {
	mux := described(t)
	var index struct {
		Paths map[string]struct {
			ServerRelativeURL string
		}
	}
	get(t, mux, "/openapi/v3", &index)
	reference := regexp.MustCompile(`#/components/schemas/([^"]+)`)
	for group, others := range map[string]string{metricsGroup: externalGroup + "/", externalGroup: "PodMetrics"} {
		var doc struct {
			Paths      map[string]any
			Components struct{ Schemas map[string]any }
		}
		url := index.Paths["apis/"+group+"/"+version].ServerRelativeURL
		text := get(t, mux, url, &doc)
		if len(doc.Paths) == 0 || strings.Contains(text, others) {
			t.Errorf("%s: %d paths, or it speaks of %q", url, len(doc.Paths), others)
		}
		for _, found := range reference.FindAllStringSubmatch(text, -1) {
			if doc.Components.Schemas[found[1]] == nil {
				t.Errorf("%s refers to %q, which is not there", url, found[1])
			}
		}
	}
}
