// Command drive posts AdmissionReviews to one or more webhooks on loopback and prints one JSON line of figures: latency
// quantiles, reviews per second, CPU seconds per review and memory of the processes under test (from /proc), registry
// requests per review and in all, and what each stage took by the webhook's own metrics.
//
// A review asks for images that none before it asked for, or, with -set, for the same few over and over. Where a row of
// the first kind would need more images than there are, it fails, or goes on with copies of the repositories (-copies),
// which the counting registry serves: other repositories, the same bytes.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const madeBefore = 20_000 // reviews that are written before the measurement; of more, each right before it is sent

type image struct{ Repo, Tag, Digest, Kind string }

func (i image) ref(host string, byTag bool, copy int) string {
	repo := i.Repo
	if first, rest, ok := strings.Cut(repo, "/"); ok && copy > 0 {
		repo = fmt.Sprintf("%s/copy-%d/%s", first, copy, rest)
	}
	if byTag {
		return host + "/" + repo + ":" + i.Tag
	}
	return host + "/" + repo + "@" + i.Digest
}

// pod is an ordinary Pod of about 3 KB, as the API server sends it.
func pod(n int, ns string, refs []string) map[string]any {
	var cs []any
	for i, r := range refs {
		cs = append(cs, map[string]any{
			"name": fmt.Sprintf("c%d", i), "image": r, "imagePullPolicy": "IfNotPresent",
			"command": []string{"/bin/app"}, "args": []string{"--listen=:8080", "--log-level=info"},
			"ports": []any{map[string]any{"containerPort": 8080, "protocol": "TCP", "name": "http"}},
			"env": []any{
				map[string]any{"name": "POD_NAME", "valueFrom": map[string]any{"fieldRef": map[string]any{"apiVersion": "v1", "fieldPath": "metadata.name"}}},
				map[string]any{"name": "DB_HOST", "value": "db.internal.example"},
				map[string]any{"name": "DB_PASSWORD", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "db", "key": "password"}}},
			},
			"resources":                map[string]any{"limits": map[string]string{"memory": "256Mi"}, "requests": map[string]string{"cpu": "100m", "memory": "128Mi"}},
			"livenessProbe":            map[string]any{"httpGet": map[string]any{"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
			"volumeMounts":             []any{map[string]any{"name": "kube-api-access", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}},
			"securityContext":          map[string]any{"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": map[string]any{"drop": []string{"ALL"}}},
			"terminationMessagePath":   "/dev/termination-log",
			"terminationMessagePolicy": "File",
		})
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{
			"name": fmt.Sprintf("app-%06d", n), "generateName": "app-", "namespace": ns, "creationTimestamp": nil,
			"labels":          map[string]string{"app": "app", "pod-template-hash": "6d4cf56db6"},
			"ownerReferences": nil,
		},
		"spec": map[string]any{
			"containers": cs, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "serviceAccount": "default",
			"terminationGracePeriodSeconds": 30, "securityContext": map[string]any{}, "schedulerName": "default-scheduler", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority", "priority": 0,
			"tolerations": []any{map[string]any{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}},
			"volumes": []any{map[string]any{"name": "kube-api-access", "projected": map[string]any{"defaultMode": 420, "sources": []any{
				map[string]any{"serviceAccountToken": map[string]any{"expirationSeconds": 3607, "path": "token"}},
				map[string]any{"configMap": map[string]any{"name": "kube-root-ca.crt", "items": []any{map[string]any{"key": "ca.crt", "path": "ca.crt"}}}}}}}},
		},
		"status": map[string]any{},
	}
}

func review(n int, ns, op string, refs []string) []byte {
	kind := map[string]string{"group": "", "version": "v1", "kind": "Pod"}
	res := map[string]string{"group": "", "version": "v1", "resource": "pods"}
	var old any
	if op == "UPDATE" {
		old = pod(n, ns, refs)
	}
	b, _ := json.Marshal(map[string]any{
		"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
		"request": map[string]any{
			"uid": fmt.Sprintf("705ab4f5-6393-11e8-b7cc-%012d", n), "kind": kind, "resource": res, "requestKind": kind, "requestResource": res,
			"name": fmt.Sprintf("app-%06d", n), "namespace": ns, "operation": op,
			"userInfo": map[string]any{"username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "a7e0b1d6", "groups": []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}},
			"object":   pod(n, ns, refs), "oldObject": old, "dryRun": false,
			"options": map[string]any{"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
		},
	})
	return b
}

func get(u string) map[string]int64 {
	m := map[string]int64{}
	r, err := http.Get(u)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Body.Close()
	_ = json.NewDecoder(r.Body).Decode(&m)
	return m
}

func post(u string) {
	r, err := http.Post(u, "text/plain", nil)
	if err != nil {
		log.Fatal(err)
	}
	r.Body.Close()
}

type stage struct{ seconds, times float64 }

// stages returns what each stage took so far, by the metrics of all webhooks.
func stages(urls []string) map[string]stage {
	all := map[string]stage{}
	for _, u := range urls {
		r, err := http.Get(u)
		if err != nil {
			log.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		for _, line := range strings.Split(string(b), "\n") {
			rest, ok := strings.CutPrefix(line, "countersign_stage_duration_seconds_")
			what, labelled, isOne := strings.Cut(rest, `{stage="`)
			name, value, ends := strings.Cut(labelled, `"} `)
			if !ok || !isOne || !ends {
				continue
			}
			v, _ := strconv.ParseFloat(value, 64)
			one := all[name]
			switch what {
			case "sum":
				one.seconds += v
			case "count":
				one.times += v
			}
			all[name] = one
		}
	}
	return all
}

func words(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// cpu returns user+system seconds of the processes; rss their resident KiB and
// peak resident KiB.
func cpu(pids []string) float64 {
	var t float64
	for _, p := range pids {
		b, err := os.ReadFile("/proc/" + p + "/stat")
		if err != nil {
			log.Fatalf("process %s: %v", p, err)
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
		u, _ := strconv.ParseFloat(f[11], 64)
		s, _ := strconv.ParseFloat(f[12], 64)
		t += (u + s) / 100
	}
	return t
}

// children returns user+system seconds of each process that one of the processes began itself.
func children(pids []string) map[string]float64 {
	found := map[string]float64{}
	for _, p := range pids {
		b, _ := os.ReadFile("/proc/" + p + "/task/" + p + "/children")
		for _, c := range strings.Fields(string(b)) {
			if _, err := os.Stat("/proc/" + c); err == nil {
				found[c] = cpu([]string{c})
			}
		}
	}
	return found
}

func rss(pids []string) (now, peak int64) {
	for _, p := range pids {
		b, _ := os.ReadFile("/proc/" + p + "/status")
		for _, l := range strings.Split(string(b), "\n") {
			f := strings.Fields(l)
			if len(f) > 1 {
				v, _ := strconv.ParseInt(f[1], 10, 64)
				switch f[0] {
				case "VmRSS:":
					now += v
				case "VmHWM:":
					peak += v
				}
			}
		}
	}
	return
}

func main() {
	name := flag.String("name", "", "label")
	target := flag.String("url", "", "webhook URLs, on loopback, comma separated: asked in turn")
	metrics := flag.String("metrics", "", "where their metrics are, comma separated")
	reg := flag.String("registry", "127.0.0.1:21000", "registry host:port")
	images := flag.String("images", "images.json", "image list from gen.py")
	kind := flag.String("kind", "signed", "of the images, as images.json says it")
	shape := flag.String("shape", "digest", "digest, tag or digest3")
	set := flag.Int("set", 0, "so many images over and over; 0: each review asks for others")
	copies := flag.Bool("copies", false, "images may be those of copied repositories, once all were asked for")
	start := flag.Int("start", 0, "first image")
	n := flag.Int("n", 500, "reviews")
	c := flag.Int("c", 1, "concurrency")
	warmup := flag.Int("warmup", 0, "reviews before measuring (same sequence, the registry without delay)")
	pid := flag.String("pid", "", "process ids under test, comma separated")
	delay := flag.Float64("delay", 0, "registry delay, ms")
	auth := flag.String("auth", "none", "registry auth: none, bearer")
	ns := flag.String("ns", "bench", "namespace")
	op := flag.String("op", "CREATE", "CREATE, or UPDATE with an old object of the same images")
	host := flag.String("host", "", "host in the references (default: the registry's)")
	rate := flag.Float64("rate", 0, "reviews per second, open loop: latency counts from the due time; 0 = closed loop")
	show := flag.Bool("show", false, "print the first answer")
	dump := flag.Bool("dump", false, "print the first request and stop")
	flag.Parse()
	if *host == "" {
		*host = *reg
	}

	var all, imgs []image
	b, err := os.ReadFile(*images)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		log.Fatal(err)
	}
	for _, i := range all {
		if i.Kind == *kind {
			imgs = append(imgs, i)
		}
	}
	per := 1
	if *shape == "digest3" {
		per = 3
	}
	total := *n + *warmup
	used := total * per
	if *set > 0 {
		used = *set
	}
	if len(imgs) == 0 || *start+used > len(imgs) && !*copies {
		log.Fatalf("%d images from %d on are needed, there are %d %s ones", used, *start, len(imgs), *kind)
	}
	mk := func(j int) []byte {
		var refs []string
		for k := 0; k < per; k++ {
			at := j*per + k
			if *set > 0 {
				at %= *set
			}
			at += *start
			refs = append(refs, imgs[at%len(imgs)].ref(*host, *shape == "tag", at/len(imgs)))
		}
		return review(j, *ns, *op, refs)
	}
	bodies := make([][]byte, min(total, madeBefore))
	for j := range bodies {
		bodies[j] = mk(j)
	}
	body := func(j int) []byte {
		if j < len(bodies) {
			return bodies[j]
		}
		return mk(j)
	}
	if *dump {
		fmt.Println(string(bodies[0]))
		return
	}
	targets, pids, watched := words(*target), words(*pid), words(*metrics)
	for _, t := range targets {
		u, err := url.Parse(t)
		if err != nil {
			log.Fatal(err)
		}
		if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
			log.Fatal("loopback addresses only")
		}
	}
	cl := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: max(64, *c), MaxConnsPerHost: 0,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1, as the API server's webhook client usually multiplexes little
	}}
	var allowed, denied, errs atomic.Int64
	var firstMsg, firstErr, firstAns atomic.Value
	one := func(j int, asked []byte) {
		r, err := cl.Post(targets[j%len(targets)], "application/json", bytes.NewReader(asked))
		if err != nil {
			errs.Add(1)
			firstErr.CompareAndSwap(nil, err.Error())
			return
		}
		out, err := io.ReadAll(r.Body)
		r.Body.Close()
		firstAns.CompareAndSwap(nil, string(out))
		var a struct {
			Response struct {
				Allowed bool
				Status  struct{ Message string }
			}
		}
		if err != nil || r.StatusCode != 200 || json.Unmarshal(out, &a) != nil {
			errs.Add(1)
			firstErr.CompareAndSwap(nil, fmt.Sprint(r.StatusCode, " ", string(out)))
			return
		}
		if a.Response.Allowed {
			allowed.Add(1)
		} else {
			denied.Add(1)
			firstMsg.CompareAndSwap(nil, a.Response.Status.Message)
		}
	}
	ctl := "http://" + *reg + "/_ctl/"
	post(fmt.Sprintf("%sset?delay_ms=0&auth=%s", ctl, *auth))
	run := func(from, to int, lat []time.Duration) time.Duration {
		var next atomic.Int64
		next.Store(int64(from))
		var wg sync.WaitGroup
		t0 := time.Now()
		for w := 0; w < *c; w++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					j := int(next.Add(1)) - 1
					if j >= to {
						return
					}
					asked := body(j)
					s := time.Now()
					if *rate > 0 {
						due := t0.Add(time.Duration(float64(j-from) / *rate * 1e9))
						time.Sleep(time.Until(due))
						s = due
					}
					one(j, asked)
					if lat != nil {
						lat[j-from] = time.Since(s)
					}
				}
			}()
		}
		wg.Wait()
		return time.Since(t0)
	}
	if *warmup > 0 {
		run(0, *warmup, nil)
	}
	allowed.Store(0)
	denied.Store(0)
	errs.Store(0)
	post(fmt.Sprintf("%sset?delay_ms=%g", ctl, *delay))
	post(ctl + "reset")
	before := stages(watched)
	r0, _ := rss(pids)
	c0, w0 := cpu(pids), children(pids)
	lat := make([]time.Duration, *n)
	wall := run(*warmup, total, lat)
	c1 := cpu(pids)
	var worked float64
	for c, spent := range children(pids) {
		worked += spent - w0[c]
	}
	r1, peak := rss(pids)
	time.Sleep(50 * time.Millisecond)
	cnt := get(ctl + "counts")
	staged := map[string]map[string]float64{}
	for name, now := range stages(watched) {
		staged[name] = map[string]float64{
			"ms_per_review": 1e3 * (now.seconds - before[name].seconds) / float64(*n), "times": now.times - before[name].times,
		}
	}
	sort.Slice(lat, func(i, j int) bool { return lat[i] < lat[j] })
	q := func(p float64) float64 {
		i := int(p*float64(len(lat))+0.999999) - 1
		return float64(lat[max(i, 0)].Microseconds()) / 1000
	}
	perReview := map[string]float64{}
	var sum float64
	for k, v := range cnt {
		if k == "peak_in_flight" {
			continue
		}
		perReview[k] = float64(int(float64(v)/float64(*n)*1000+0.5)) / 1000
		if !strings.Contains(k, ".") && k != "conns" {
			sum += float64(v)
		}
	}
	out := map[string]any{
		"name": *name, "shape": *shape, "set": *set, "kind": *kind, "c": *c, "delay_ms": *delay, "auth": *auth, "n": *n, "warmup": *warmup, "start": *start, "rate": *rate,
		"p50_ms": q(.5), "p95_ms": q(.95), "p99_ms": q(.99), "max_ms": q(1), "per_s": float64(int(float64(*n)/wall.Seconds()*10)) / 10, "wall_s": wall.Seconds(),
		"cpu_ms_per_review": float64(int((c1-c0)/float64(*n)*1e6+.5)) / 1000, "cpu_s": c1 - c0, "worker_ms_per_review": 1e3 * worked / float64(*n), "rss_before_mib": float64(r0) / 1024, "rss_after_mib": float64(r1) / 1024, "rss_peak_mib": float64(peak) / 1024,
		"registry_per_review": float64(int(sum/float64(*n)*1000+.5)) / 1000, "registry_total": sum, "stages": staged,
		"registry_by_kind": perReview, "registry_peak_in_flight": cnt["peak_in_flight"],
		"allowed": allowed.Load(), "denied": denied.Load(), "errors": errs.Load(), "at": time.Now().UTC().Format(time.RFC3339),
	}
	if m, ok := firstMsg.Load().(string); ok {
		out["first_denial"] = m
	}
	if m, ok := firstErr.Load().(string); ok {
		out["first_error"] = m
	}
	e := json.NewEncoder(os.Stdout)
	e.SetEscapeHTML(false)
	_ = e.Encode(out)
	if *show {
		fmt.Println(firstAns.Load())
	}
}
