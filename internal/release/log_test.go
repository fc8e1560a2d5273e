package release

import "testing"

func TestTold(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  bool
	}{
		"a program's words":        {[]string{"cannot find my database"}, true},
		"no log":                   {nil, false},
		"a kubelet's excuse":       {[]string{"unable to retrieve container logs for escale://8f95"}, false},
		"a program that says this": {[]string{"starting", "unable to retrieve container logs for me"}, true},
	} {
		if got := told(c.lines); got != c.want {
			t.Errorf("%s: told = %v, want %v", name, got, c.want)
		}
	}
}
