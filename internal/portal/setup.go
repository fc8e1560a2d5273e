package portal

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	"github.com/escale-dev/escale/internal/web"
)

// Deps is what the portal needs.
type Deps struct {
	// Manager whose cache the pages are made of. Its scheme knows Apps and the Gateway API.
	Manager manager.Manager
	// Kube reads logs.
	Kube kubernetes.Interface
	// Timeline that is shown and that restarts are written to; may be nil.
	Timeline *timeline.Timeline
	// Signals are the live facts that an App's charts show; may be nil.
	Signals *signal.Store
	// Web serves the pages.
	Web *web.Server
	// Log of the portal.
	Log *slog.Logger
}

// portal is the capability at work.
type portal struct {
	reader   client.Reader
	writer   client.Client
	kube     kubernetes.Interface
	timeline *timeline.Timeline
	signals  *signal.Store
	hub      *hub
	log      *slog.Logger
}

// Setup adds the portal's pages to d.Web and its watches to d.Manager. Pages answer that the platform is starting until
// the manager runs.
func Setup(ctx context.Context, d Deps) error {
	p := &portal{reader: d.Manager.GetCache(), writer: d.Manager.GetClient(), kube: d.Kube, timeline: d.Timeline, signals: d.Signals, hub: newHub(), log: d.Log}
	if err := p.watch(ctx, d.Manager.GetCache()); err != nil {
		return fmt.Errorf("setting up portal: %w", err)
	}
	if err := d.Manager.Add(manager.RunnableFunc(p.watchTimeline)); err != nil {
		return fmt.Errorf("setting up portal: %w", err)
	}
	p.addPages(d.Web)
	return nil
}

// watch tells the hub of every change. A kind that the cluster does not know, such as HTTPRoute where the Gateway API is
// not installed, is done without.
func (p *portal) watch(ctx context.Context, objects cache.Cache) error {
	for _, o := range watched() {
		informer, err := objects.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("watching %T: %w", o, err)
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { p.hub.poke() },
			UpdateFunc: func(any, any) { p.hub.poke() },
			DeleteFunc: func(any) { p.hub.poke() },
		}); err != nil {
			return fmt.Errorf("watching %T: %w", o, err)
		}
	}
	return nil
}

// watchTimeline tells the hub of every record. A reader that fell behind was dropped and begins again.
func (p *portal) watchTimeline(ctx context.Context) error {
	for ctx.Err() == nil {
		for range p.timeline.Watch(ctx) {
			p.hub.poke()
		}
		p.hub.poke()
		select {
		case <-ctx.Done():
		case <-time.After(calm):
		}
	}
	return nil
}

//go:embed *.html
var files embed.FS

func (p *portal) addPages(s *web.Server) {
	s.Section("Overview", "/")
	s.Section("Timeline", "/timeline")
	parse := func(name string) web.Page {
		return web.Page{Template: web.Parse(files, "parts.html", name), Changes: p.hub.changes}
	}
	overview := parse("overview.html")
	overview.Section, overview.View = "/", p.overviewView
	s.Page("/{$}", overview)

	app := parse("app.html")
	app.Section, app.View, app.Changes = "/", p.appView, p.appChanges
	s.Page("/apps/{namespace}/{name}", app)

	records := parse("timeline.html")
	records.Section, records.View = "/timeline", p.timelineView
	s.Page("/timeline", records)

	s.Stream("/pods/{namespace}/{name}/logs", p.logs)
	s.Action("/apps/{namespace}/{name}/restart", p.restart)
}

func (p *portal) overviewView(r *http.Request) (web.View, error) {
	f, err := p.gather(r.Context(), "")
	if err != nil {
		return nil, starting(err)
	}
	f.records = p.timeline.List(timeline.Filter{Limit: recentRecords})
	return overviewOf(f, r.FormValue("q")), nil
}

// appRecords is how many records the page of an App shows.
const appRecords = 10

func (p *portal) appView(r *http.Request) (web.View, error) {
	namespace, name := r.PathValue("namespace"), r.PathValue("name")
	f, err := p.gather(r.Context(), namespace)
	if err != nil {
		return nil, starting(err)
	}
	for _, app := range f.apps {
		if app.Name != name {
			continue
		}
		choice := logChoice{r.FormValue("pod"), r.FormValue("container"), r.FormValue("previous") == "true"}
		page := appOf(f.of(app), choice)
		records := p.timeline.List(timeline.Filter{Namespace: namespace, Name: name, Limit: chartRecords})
		page.Recent = recordRows(records[:min(appRecords, len(records))])
		page.Charts = chartsOf(p.signals.History(workloadOf(app), f.now.Add(-chartSpan)), records, f.now)
		return page, nil
	}
	return nil, web.NotFound(fmt.Sprintf("There is no app %q in namespace %q.", name, namespace),
		"It may have been deleted; the timeline says what happened to it.")
}

func (p *portal) timelineView(r *http.Request) (web.View, error) {
	q := timelineQuestion{r.FormValue("q"), r.FormValue("kind"), r.FormValue("namespace"), r.FormValue("within")}
	return timelineOf(p.timeline.List(timeline.Filter{}), q, time.Now()), nil
}

// starting explains the error of a cache that does not run yet.
func starting(err error) error {
	var notYet *cache.ErrCacheNotStarted
	if errors.As(err, &notYet) {
		return &web.Error{Code: http.StatusServiceUnavailable, Message: "The platform is still starting.", Next: "Load this page again in a moment."}
	}
	return err
}
