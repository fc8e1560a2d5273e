package waterfall

import (
	"context"
	"net/url"

	"github.com/escale-dev/escale/internal/signal"
)

// ViewName is the name under which a running platform shows its scale-ups.
const ViewName = "scaleups"

// Query asks View for the scale-ups of a workload.
func Query(w signal.Workload) url.Values {
	return url.Values{"kind": {w.Kind}, "namespace": {w.Namespace}, "name": {w.Name}}
}

// View is the scale-ups that run of the workload in the query, of all for an empty query, as a []Scaleup.
func (w *Watcher) View(_ context.Context, query url.Values) (any, error) {
	running := w.Running(signal.Workload{Kind: query.Get("kind"), Namespace: query.Get("namespace"), Name: query.Get("name")})
	if running == nil {
		running = []Scaleup{}
	}
	return running, nil
}
