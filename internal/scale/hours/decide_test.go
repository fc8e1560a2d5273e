package hours

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const working = "Mon-Fri 08:00-18:00 UTC"

// at are moments of a week in which Monday is 2026-03-02.
var at = map[string]string{
	"monday noon": "2026-03-02T12:00:00Z", "monday night": "2026-03-02T20:00:00Z", "saturday": "2026-03-07T12:00:00Z",
}

func TestDecide(t *testing.T) {
	five := int32(5)
	zero := int32(0)
	for _, c := range []struct {
		name            string
		namespace, own  map[string]string
		at              string
		replicas        int32
		original        *int32
		age             time.Duration
		want, why, ends string
	}{
		{name: "up in its uptime", own: map[string]string{"downscaler/uptime": working}, at: "monday noon", replicas: 5,
			want: "leave", why: `uptime "Mon-Fri 08:00-18:00 UTC"`, ends: "2026-03-02T18:00:00Z"},
		{name: "down outside", own: map[string]string{"downscaler/uptime": working}, at: "monday night", replicas: 5,
			want: "down to 0", why: `outside of uptime "Mon-Fri 08:00-18:00 UTC"`, ends: "2026-03-03T08:00:00Z"},
		{name: "over the weekend", own: map[string]string{"downscaler/uptime": working}, at: "saturday", replicas: 5,
			want: "down to 0", why: "outside of uptime", ends: "2026-03-09T08:00:00Z"},
		{name: "is down", own: map[string]string{"downscaler/uptime": working}, at: "saturday", replicas: 0, original: &five,
			want: "leave", why: "outside of uptime", ends: "2026-03-09T08:00:00Z"},
		{name: "comes back", own: map[string]string{"downscaler/uptime": working}, at: "monday noon", replicas: 0, original: &five,
			want: "up to 5", why: "uptime", ends: "2026-03-02T18:00:00Z"},
		{name: "scaled up by hand at night is taken down again", own: map[string]string{"downscaler/uptime": working}, at: "monday night",
			replicas: 3, original: &five, want: "down to 0", why: "outside of uptime", ends: "2026-03-03T08:00:00Z"},
		{name: "another number in the morning stays", own: map[string]string{"downscaler/uptime": working}, at: "monday noon",
			replicas: 3, original: &five, want: "forget", why: "uptime", ends: "2026-03-02T18:00:00Z"},
		{name: "was at zero before", own: map[string]string{"downscaler/uptime": working}, at: "monday noon",
			replicas: 0, original: &zero, want: "up to 0", why: "uptime", ends: "2026-03-02T18:00:00Z"},
		{name: "some are left", own: map[string]string{"downscaler/uptime": working, "downscaler/downtime-replicas": "2"}, at: "saturday", replicas: 5,
			want: "down to 2", why: "outside", ends: "2026-03-09T08:00:00Z"},
		{name: "fewer than are left", own: map[string]string{"downscaler/uptime": working, "downscaler/downscale-replicas": "2"}, at: "saturday", replicas: 1,
			want: "leave", why: "outside", ends: "2026-03-09T08:00:00Z"},
		{name: "downtime", own: map[string]string{"downscaler/downtime": "Sat-Sun 00:00-24:00 UTC"}, at: "saturday", replicas: 5,
			want: "down to 0", why: `downtime "Sat-Sun 00:00-24:00 UTC"`, ends: "2026-03-09T00:00:00Z"},
		{name: "downtime inside of uptime", own: map[string]string{"downscaler/uptime": working, "downscaler/downtime": "Mon-Mon 11:00-13:00 UTC"},
			at: "monday noon", replicas: 5, want: "down to 0", why: "downtime", ends: "2026-03-02T13:00:00Z"},
		{name: "of the namespace", namespace: map[string]string{"downscaler/uptime": working}, at: "saturday", replicas: 5,
			want: "down to 0", why: "outside", ends: "2026-03-09T08:00:00Z"},
		{name: "its own count", namespace: map[string]string{"downscaler/uptime": working}, own: map[string]string{"downscaler/uptime": "always"},
			at: "saturday", replicas: 5, want: "leave", why: `uptime "always"`},
		{name: "excluded", namespace: map[string]string{"downscaler/uptime": working}, own: map[string]string{"downscaler/exclude": "true"},
			at: "saturday", replicas: 5, want: "leave", why: "excluded"},
		{name: "a namespace's exclusion holds for all", namespace: map[string]string{"downscaler/exclude": "true"},
			own: map[string]string{"downscaler/uptime": working, "downscaler/exclude": "false"}, at: "saturday", replicas: 5, want: "leave", why: "excluded"},
		{name: "excluded while down comes back", own: map[string]string{"downscaler/uptime": working, "downscaler/exclude": "True"},
			at: "saturday", replicas: 0, original: &five, want: "up to 5", why: "excluded"},
		{name: "excluded at some times", own: map[string]string{"downscaler/uptime": working, "downscaler/exclude": "Sat-Sat 10:00-14:00 UTC"},
			at: "saturday", replicas: 5, want: "leave", why: "excluded", ends: "2026-03-07T14:00:00Z"},
		{name: "excluded until", own: map[string]string{"downscaler/uptime": working, "downscaler/exclude-until": "2026-03-08"},
			at: "saturday", replicas: 5, want: "leave", why: "excluded until 2026-03-08T00:00:00Z", ends: "2026-03-08T00:00:00Z"},
		{name: "excluded until long ago", own: map[string]string{"downscaler/uptime": working, "downscaler/exclude-until": "2026-03-01 18:00"},
			at: "saturday", replicas: 5, want: "down to 0", why: "outside", ends: "2026-03-09T08:00:00Z"},
		{name: "forced up", namespace: map[string]string{"downscaler/force-uptime": "true"}, own: map[string]string{"downscaler/uptime": working},
			at: "saturday", replicas: 0, original: &five, want: "up to 5", why: `force-uptime "always"`},
		{name: "forced down for a holiday", namespace: map[string]string{"downscaler/force-downtime": "2026-03-02T00:00:00+00:00-2026-03-03T00:00:00+00:00"},
			own: map[string]string{"downscaler/uptime": working}, at: "monday noon", replicas: 5,
			want: "down to 0", why: "force-downtime", ends: "2026-03-03T08:00:00Z"},
		{name: "a holiday next year is foreseen", own: map[string]string{"downscaler/downtime": "2027-01-01T00:00:00+00:00-2027-01-02T00:00:00+00:00"},
			at: "monday noon", replicas: 5, want: "leave", why: "outside of downtime", ends: "2027-01-01T00:00:00Z"},
		{name: "outside of periods nothing happens", own: map[string]string{"downscaler/downscale-period": "Mon-Sun 19:00-19:30 UTC"},
			at: "monday noon", replicas: 5, want: "leave", why: "outside of its upscale and downscale periods", ends: "2026-03-02T19:00:00Z"},
		{name: "in its downscale period", own: map[string]string{"downscaler/downscale-period": "Mon-Sun 19:30-20:30 UTC", "downscaler/uptime": "always"},
			at: "monday night", replicas: 5, want: "down to 0", why: "downscale-period", ends: "2026-03-02T20:30:00Z"},
		{name: "new ones stay up a while", own: map[string]string{"downscaler/uptime": working}, at: "saturday", replicas: 5, age: 10 * time.Minute,
			want: "leave", why: "it is new and stays up for its grace period of 15 min", ends: "2026-03-07T12:05:00Z"},
		{name: "without grace", own: map[string]string{"downscaler/uptime": working, "downscaler/grace-period": "0"}, at: "saturday", replicas: 5,
			age: time.Second, want: "down to 0", why: "outside", ends: "2026-03-09T08:00:00Z"},
		{name: "the schedule was removed", at: "saturday", replicas: 0, original: &five, want: "up to 5", why: "no schedule"},
		{name: "nothing said", at: "saturday", replicas: 0, want: "leave", why: "no schedule"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings, err := ParseSettings(c.namespace, c.own)
			if err != nil {
				t.Fatal(err)
			}
			now := moment(t, at[c.at])
			if c.age == 0 {
				c.age = 24 * time.Hour
			}
			p := Decide(Facts{Now: now, Settings: settings, Created: now.Add(-c.age), Replicas: c.replicas, Original: c.original})
			if got := p.text(); got != c.want || !strings.Contains(p.Why, c.why) {
				t.Errorf("got %s, because %s; want %s, because %s", got, p.Why, c.want, c.why)
			}
			until := ""
			if !p.Until.IsZero() {
				until = p.Until.UTC().Format(time.RFC3339)
			}
			if until != c.ends {
				t.Errorf("until %s, want %s", until, c.ends)
			}
			if !p.Next.IsZero() && !p.Next.After(now) {
				t.Errorf("looks again at %s, which is not after %s", p.Next, now)
			}
		})
	}
}

func (p Plan) text() string {
	return [...]string{"leave", fmt.Sprintf("down to %d", p.Replicas), fmt.Sprintf("up to %d", p.Replicas), "forget"}[p.Act]
}

func TestGraceEndsBeforeTheSchedule(t *testing.T) {
	settings, err := ParseSettings(map[string]string{"downscaler/uptime": working})
	if err != nil {
		t.Fatal(err)
	}
	now := moment(t, at["saturday"])
	p := Decide(Facts{Now: now, Settings: settings, Created: now.Add(-time.Minute), Replicas: 1})
	if !p.Next.Equal(now.Add(14 * time.Minute)) {
		t.Errorf("looks again at %s", p.Next)
	}
}

func TestParseSettingsRefuses(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"downscaler/uptime", "9 to 5", `annotation "downscaler/uptime", value "9 to 5": range "9 to 5": want "always"`},
		{"downscaler/downtime-replicas", "-1", "want a number of replicas"},
		{"downscaler/downtime-replicas", "half", "want a number of replicas"},
		{"downscaler/exclude", "yes", `want "always"`},
		{"downscaler/exclude-until", "tomorrow", "want a moment such as 2026-12-24T18:00:00Z"},
		{"downscaler/grace-period", "-5", "want seconds"},
		{"downscaler/grace-period", "NaN", "want seconds"},
		{"downscaler/grace-period", "9999999999999999", "want seconds"},
		{"downscaler/scale-children", "true", "it is not known here"},
		{"downscaler/uptime", strings.Repeat("é", 3000), "…"},
	} {
		_, err := ParseSettings(nil, map[string]string{c.key: c.value, "other": "x"})
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 600 {
			t.Errorf("%s=%.40q: got %v, want it to say %q", c.key, c.value, err, c.want)
		}
	}
	if s, err := ParseSettings(map[string]string{annotationOriginal: "x", "other": "y"}); err != nil || s.Said {
		t.Errorf("what is not a setting: %+v, %v", s, err)
	}
}

func TestLedger(t *testing.T) {
	spec := &corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("2Gi")}}}}}
	night := moment(t, at["monday night"])
	var l Ledger
	l = l.down(night, reservedBy(spec, 5))
	if got := l.Saved(night.Add(2 * time.Hour)); got != (Saved{5, 20}) {
		t.Errorf("two hours of the night saved %+v", got)
	}
	l = readLedger(map[string]string{AnnotationLedger: l.text()})
	l = l.up(night.Add(10 * time.Hour))
	if !l.DownSince.IsZero() || !l.Since.Equal(night) {
		t.Errorf("in the morning: %+v", l)
	}
	if got := l.Saved(night.Add(24 * time.Hour)); got != (Saved{25, 100}) {
		t.Errorf("by the next evening saved %+v", got)
	}
	l = l.down(night.Add(24*time.Hour), reservedBy(nil, 3)).up(night.Add(25 * time.Hour))
	if got := l.Saved(night); got != (Saved{25, 100}) {
		t.Errorf("pods that reserve nothing saved %+v", got)
	}
	for _, damaged := range []string{"", "{", `{"cpuHours":-5}`, `[]`} {
		if got := readLedger(map[string]string{AnnotationLedger: damaged}); got != (Ledger{}) {
			t.Errorf("%q is read as %+v", damaged, got)
		}
	}
}
