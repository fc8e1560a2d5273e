package queues_test

import (
	"runtime/pprof"
	"strings"
	"testing"

	"k8s.io/client-go/util/workqueue"
	_ "k8s.io/component-base/metrics/prometheus/workqueue" // sets a provider
	_ "sigs.k8s.io/controller-runtime/pkg/metrics"         // sets another

	_ "github.com/escale-dev/escale/internal/engine/queues"
)

func TestQueuesHaveNoTimer(t *testing.T) {
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[string]{Name: "test"})
	defer queue.ShutDown()
	var stacks strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 1); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stacks.String(), "updateUnfinishedWorkLoop") {
		t.Error("a queue without work has a timer")
	}
}
