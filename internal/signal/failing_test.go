package signal

import (
	"testing"
	"time"
)

// minute is facts of so many seconds, one a second.
func minute(seconds int, f Facts) []Facts {
	var all []Facts
	for i := range seconds {
		f.At = time.Unix(1_800_000_000+int64(i), 0)
		all = append(all, f)
	}
	return all
}

func TestFailing(t *testing.T) {
	for name, c := range map[string]struct {
		history []Facts
		want    string // empty: it does not fail
	}{
		"nothing is known":                         {nil, ""},
		"all is well":                              {minute(60, Facts{Desired: 3, Pods: 3, Ready: 3, Rate: 100, ErrorRate: 1}), ""},
		"a third of the pods is starting":          {minute(5, Facts{Desired: 3, Pods: 3, Ready: 2}), ""},
		"most pods are lost":                       {minute(5, Facts{Desired: 5, Pods: 5, Ready: 2}), "has 2 of 5 pods ready"},
		"all pods are lost":                        {minute(1, Facts{Desired: 2, Pods: 2}), "has no pod that is ready"},
		"it is at zero on purpose":                 {minute(60, Facts{Rate: 5, ErrorRate: 5}), ""},
		"most answers are errors":                  {minute(60, Facts{Desired: 1, Ready: 1, Rate: 10, ErrorRate: 8}), "answers 80 % of its requests with errors"},
		"one request failed in a quiet minute":     {minute(60, Facts{Desired: 1, Ready: 1, Rate: .02, ErrorRate: .02}), ""},
		"errors that ended more than a minute ago": {append(minute(60, Facts{Desired: 1, Ready: 1, Rate: 10, ErrorRate: 10}), after(120, Facts{Desired: 1, Ready: 1, Rate: 10})...), ""},
	} {
		failing, why := Failing(c.history)
		if why != c.want || failing != (c.want != "") {
			t.Errorf("%s: %v, %q; want %q", name, failing, why, c.want)
		}
	}
}

// after is facts of the 70 seconds from so many seconds on.
func after(seconds int, f Facts) []Facts {
	all := minute(70, f)
	for i := range all {
		all[i].At = all[i].At.Add(time.Duration(seconds) * time.Second)
	}
	return all
}
