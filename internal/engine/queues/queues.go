// Package queues keeps the work queues of the process's controllers from waking up at rest.
//
// Every work queue that has metrics looks twice a second how long its oldest item is under way, whether it has one or
// not. A platform has about a hundred queues, those of Kubernetes' controllers among them, so two hundred wake-ups a
// second were most of what it did at idle. Whoever imports this package has queues without metrics.
package queues

import (
	_ "unsafe" // for go:linkname

	"k8s.io/client-go/util/workqueue"
)

// none is what the library has before anybody sets a provider; a queue begins no timer only with this very value.
//
//go:linkname none k8s.io/client-go/util/workqueue.globalMetricsProvider
var none workqueue.MetricsProvider

// The first provider that is set stays. Packages begin in the order of their paths once their imports have begun, so this
// one precedes k8s.io/component-base and controller-runtime, which set theirs; the test notices if it does not.
func init() { workqueue.SetProvider(none) }
