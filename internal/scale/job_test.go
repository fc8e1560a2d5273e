package scale

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// queue is an HTTP server that tells how much work waits, to those who know the token.
func queue(t *testing.T) (url string, length *atomic.Int64) {
	length = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, fmt.Sprintf(`{"value":%d}`, length.Load()))
	}))
	t.Cleanup(server.Close)
	return server.URL, length
}

// credentials creates a Secret with the queue's token and a TriggerAuthentication that leads to it.
func (s *story) credentials() {
	apply[corev1.Secret](s, "metadata: {name: queue}\nstringData: {token: sesame}\n")
	apply[kedav1alpha1.TriggerAuthentication](s, `
metadata: {name: queue}
spec: {secretTargetRef: [{parameter: token, name: queue, key: token}]}
`)
}

func queueTrigger(url string) string {
	return `
  triggers:
  - type: metrics-api
    metadata: {url: "` + url + `", valueLocation: value, targetValue: "1", authMode: bearer}
    authenticationRef: {name: queue}
`
}

func TestStartsAJobForEachMessage(t *testing.T) {
	s := startStory(t)
	url, length := queue(t)
	length.Store(3)
	s.credentials()
	apply[kedav1alpha1.ScaledJob](s, `
metadata: {name: pack}
spec:
  maxReplicaCount: 5
  jobTargetRef:
    template:
      spec: {containers: [{name: pack, image: none}]}
`+queueTrigger(url))
	s.eventually("three Jobs", func(ctx context.Context) error {
		if n := s.jobs(ctx); n != 3 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	length.Store(9)
	s.eventually("five Jobs, which is the most", func(ctx context.Context) error {
		if n := s.jobs(ctx); n != 5 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	s.eventually("a status", func(ctx context.Context) error {
		var o kedav1alpha1.ScaledJob
		if err := s.client.Get(ctx, s.key("pack"), &o); err != nil {
			return err
		}
		if o.Status.Conditions.Get("Ready").Status != metav1.ConditionTrue || o.Status.Conditions.Get("Active").Status != metav1.ConditionTrue {
			return fmt.Errorf("it is %+v", o.Status)
		}
		return nil
	})
	if n := s.jobs(context.Background()); n != 5 {
		t.Errorf("there are %d Jobs, at most 5 are wanted", n)
	}
}

func (s *story) jobs(ctx context.Context) int {
	var list batchv1.JobList
	if err := s.client.List(ctx, &list, client.InNamespace(s.namespace)); err != nil {
		s.t.Fatal(err)
	}
	return len(list.Items)
}

func TestJobThatIsRefusedIsNamed(t *testing.T) {
	s := startStory(t)
	url, _ := queue(t)
	s.credentials()
	apply[kedav1alpha1.ScaledJob](s, `
metadata: {name: pack}
spec:
  jobTargetRef:
    template:
      spec: {restartPolicy: Always, containers: [{name: pack, image: none}]}
`+queueTrigger(url))
	s.eventually("a refusal", func(ctx context.Context) error {
		var o kedav1alpha1.ScaledJob
		if err := s.client.Get(ctx, s.key("pack"), &o); err != nil {
			return err
		}
		if c := o.Status.Conditions.Get("Ready"); c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "restartPolicy") {
			return fmt.Errorf("it has %+v", c)
		}
		return nil
	})
}

func TestCredentialsReachTheSourceAndNobodyElse(t *testing.T) {
	s := startStory(t)
	url, length := queue(t)
	length.Store(4)
	s.deployment("web", 0)
	s.credentials()
	apply[kedav1alpha1.ScaledObject](s, `
metadata: {name: web}
spec:
  scaleTargetRef: {name: web}
`+queueTrigger(url))
	s.wantPods("web", 4)
	o := s.wantCondition("web", "Ready", metav1.ConditionTrue)
	if got := s.conditions(context.Background(), "web"); strings.Contains(got, "sesame") {
		t.Errorf("the status holds the token: %s", got)
	}
	name := o.Status.ExternalMetricNames[0]
	for selector, want := range map[string]int{"scaledobject.keda.sh/name=web": 1, "scaledobject.keda.sh/name=other": 0} {
		parsed, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.signals.External(context.Background(), s.namespace, name, parsed)
		if err != nil || len(got) != want || want == 1 && got[0].Value != 4 {
			t.Errorf("metric %q of %q is %+v, %v", name, selector, got, err)
		}
	}
}

func TestAuthenticationNamesWhoUsesIt(t *testing.T) {
	s := startStory(t)
	url, _ := queue(t)
	s.deployment("web", 0)
	s.credentials()
	object := apply[kedav1alpha1.ScaledObject](s, "metadata: {name: web}\nspec:\n  scaleTargetRef: {name: web}\n"+queueTrigger(url))
	for _, name := range []string{"pack", "bill"} {
		apply[kedav1alpha1.ScaledJob](s, `
metadata: {name: `+name+`}
spec:
  jobTargetRef: {template: {spec: {containers: [{name: pack, image: none}]}}}
`+queueTrigger(url))
	}
	s.wantUsers("web", "bill,pack")
	if err := s.client.Delete(context.Background(), object); err != nil {
		t.Fatal(err)
	}
	s.wantUsers("", "bill,pack")
}

func (s *story) wantUsers(objects, jobs string) {
	s.t.Helper()
	want := kedav1alpha1.TriggerAuthenticationStatus{ScaledObjectNamesStr: objects, ScaledJobNamesStr: jobs}
	s.eventually(fmt.Sprintf("a status %+v", want), func(ctx context.Context) error {
		var o kedav1alpha1.TriggerAuthentication
		if err := s.client.Get(ctx, s.key("queue"), &o); err != nil {
			return err
		}
		if o.Status != want {
			return fmt.Errorf("it is %+v", o.Status)
		}
		return nil
	})
}

func TestPlaceOfCredentialsThatIsNotReadIsNamed(t *testing.T) {
	s := startStory(t)
	s.deployment("web", 0)
	apply[kedav1alpha1.TriggerAuthentication](s, `
metadata: {name: queue}
spec:
  hashiCorpVault:
    address: http://vault
    authentication: token
    secrets: [{parameter: token, path: a, key: b}]
`)
	apply[kedav1alpha1.ScaledObject](s, "metadata: {name: web}\nspec:\n  scaleTargetRef: {name: web}\n"+queueTrigger("http://127.0.0.1:1"))
	s.wantCondition("web", "Ready", metav1.ConditionFalse, "hashiCorpVault", "secretTargetRef")
}

func TestEnvironmentOfAPod(t *testing.T) {
	p := &podEnv{spec: &corev1.PodSpec{Containers: []corev1.Container{
		{Name: "one", Env: []corev1.EnvVar{{Name: "HOST", Value: "a"}, {Name: "URL", Value: "http://$(HOST):$(PORT)/$(HOST"}}},
		{Name: "two", Env: []corev1.EnvVar{{Name: "HOST", Value: "b"}}},
	}}}
	one, err := p.of(context.Background(), "")
	if err != nil || one["URL"] != "http://a:$(PORT)/$(HOST" {
		t.Errorf("the first container has %v, %v", one, err)
	}
	if two, err := p.of(context.Background(), "two"); err != nil || two["HOST"] != "b" {
		t.Errorf("the second container has %v, %v", two, err)
	}
	if _, err := p.of(context.Background(), "three"); err == nil {
		t.Error("a container that is not there has an environment")
	}
}
