package enginetest_test

import (
	"testing"

	"github.com/escale-dev/escale/internal/engine/enginetest"
	"k8s.io/client-go/kubernetes"
)

func TestStartGivesAServerWithItsVersionSet(t *testing.T) {
	c, err := kubernetes.NewForConfig(enginetest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if v.GitVersion != "v1.36.3" || v.Minor != "36" {
		t.Errorf("server says it is %s (minor %s): charts with a kubeVersion would refuse it", v.GitVersion, v.Minor)
	}
}
