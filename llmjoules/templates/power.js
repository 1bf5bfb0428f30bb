// The trace of a run: from its packed form to what Plotly draws, and the energy of any span of it.
(function () {
  "use strict";
  var LJ = window.LJ, h = LJ.h, number = LJ.number, MICRO = 1e-6;

  function bytes(text) {
    return Uint8Array.from(atob(text), function (character) { return character.charCodeAt(0); });
  }

  // 16 or 8 bits as parts of `top`; the largest number stands for "not known".
  function unpacked(text, wide, top) {
    var raw = bytes(text), unknown = wide ? 65535 : 255, values = [];
    for (var i = 0; i < raw.length; i += wide ? 2 : 1) {
      var value = wide ? raw[i] + 256 * raw[i + 1] : raw[i];
      values.push(value === unknown ? null : value * top / (unknown - 1));
    }
    return values;
  }

  // edges in s, of each line mean, low and high in W; null where it is not known.
  function decoded(plot) {
    var at = 0, from = plot.edges.from_s, step = plot.edges.step_s;
    var edges = [from].concat(plot.edges.widths.flatMap(function (width) {
      var one = Array.isArray(width) ? width[0] : width;
      return Array.from({ length: Array.isArray(width) ? width[1] : 1 }, function () { at += one; return from + at * step; });
    }));
    var lines = plot.lines.map(function (line) {
      return Object.assign({}, line, {
        mean: typeof line.mean === "string" ? unpacked(line.mean, true, line.top_w) : line.mean,
        low: line.low && unpacked(line.low, false, line.top_w), high: line.high && unpacked(line.high, false, line.top_w)
      });
    });
    return { edges: edges, lines: lines };
  }

  // The least and the most power in each bucket, as one closed outline for each stretch without a hole.
  function band(edges, line) {
    var x = [], y = [], start = 0, i;
    for (var stop = 0; stop <= line.mean.length; stop++) {
      if (stop < line.mean.length && line.low[stop] !== null && line.high[stop] !== null) { continue; }
      if (stop > start) {
        for (i = start; i < stop; i++) { x.push(edges[i], edges[i + 1]); y.push(line.high[i], line.high[i]); }
        for (i = stop - 1; i >= start; i--) { x.push(edges[i + 1], edges[i]); y.push(line.low[i], line.low[i]); }
        x.push(null);
        y.push(null);
      }
      start = stop + 1;
    }
    return { type: "scatter", mode: "lines", x: x, y: y, fill: "toself", fillcolor: line.color + " 0.18",
      line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  }

  LJ.power = function (plot) {
    var trace = decoded(plot), data = [], edges = trace.edges;
    trace.lines.forEach(function (line) {
      if (line.low) { data.push(band(edges, line)); }
      data.push({ type: "scatter", mode: "lines", name: line.name, x: edges, y: line.mean.concat(line.mean.slice(-1)),
        line: Object.assign({ shape: "hv", width: 1.6, color: line.color }, line.dash ? { dash: "dot" } : {}),
        hovertemplate: "%{y:.4g} W at %{x:.3f} s<extra></extra>", connectgaps: false });
    });
    return { trace: trace, figure: {
      data: data, ends: (plot.ends || []).map(function (end) { return Object.assign({ x: edges[edges.length - 1] }, end); }),
      bands: plot.bands,
      layout: {
        xaxis: { ticksuffix: " s", showticksuffix: "first", showgrid: false, range: [edges[0], edges[edges.length - 1]] },
        yaxis: { ticksuffix: " W", showticksuffix: "last", rangemode: "tozero", fixedrange: true }
      }
    } };
  };

  // Tokens so far, from the beginning of the inference.
  LJ.tokens = function (plot) {
    var from = plot.tokens.from_s, times = [from].concat(plot.tokens.times_s);
    return {
      data: [{ type: "scatter", mode: "lines", name: "tokens", x: times.map(function (at) { return at - from; }),
        y: times.map(function (_, step) { return step * plot.tokens.each; }), line: { shape: "hv", width: 2, color: "--p-decode" },
        hovertemplate: "%{y:.6g} tokens after %{x:.4f} s<extra></extra>" }],
      layout: {
        xaxis: { ticksuffix: " s", showticksuffix: "first", showgrid: false, rangemode: "tozero", fixedrange: true },
        yaxis: { ticksuffix: " tokens", showticksuffix: "last", rangemode: "tozero", fixedrange: true }
      }
    };
  };

  // Joules under a line between two instants; null where it has a hole there, or does not reach so far.
  function area(edges, mean, from, to) {
    var sum = 0;
    if (from < edges[0] - MICRO || to > edges[edges.length - 1] + MICRO) { return null; }
    for (var i = 0; i < mean.length; i++) {
      var inside = Math.min(edges[i + 1], to) - Math.max(edges[i], from);
      if (inside > 0) {
        if (mean[i] === null) { return null; }
        sum += mean[i] * inside;
      }
    }
    return sum;
  }

  // none: why the record has no energy of this line in this phase, if it is one; then there is none here either.
  function sentence(line, plot, edges, from, to, none) {
    var joules = area(edges, line.mean, from, to), name = h("strong", {}, plain(line.name)), length = to - from;
    if (none) { return [name, ": no energy, " + none + "."]; }
    if (joules === null) { return [name, ": in a part of this span its power is not known."]; }
    var words = ": " + number(joules, 4) + " J, mean " + number(joules / length) + " W";
    if (plot.tokens) {
      var steps = plot.tokens.times_s.filter(function (at) { return at > from && at <= to; }).length;
      var tokens = steps * plot.tokens.each;
      words += ", " + tokens.toLocaleString("en").replace(/,/g, "\u202f") + (tokens === 1 ? " token" : " tokens");
      if (tokens) { words += ", " + number(joules / tokens) + " J/token"; }
    }
    return [name, words + "."];
  }

  // Names are escaped for Plotly, which reads entities in labels.
  function plain(name) {
    return name.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
  }

  function micro(at_s) { return String(Number(at_s.toFixed(6))); }

  // Choosing a span: by drawing over the chart, by a phase, or by its two ends in numbers. The fields and the address have
  // microseconds; ends that are those of a phase there stand for its own, to which its joules and tokens belong.
  LJ.span = function (place) {
    var source = document.getElementById(place.dataset.span), box = document.querySelector('[data-chart="' + source.id + '"]:not([data-of])');
    var plot = JSON.parse(source.textContent), edges = null, lines = null;
    var says = h("ul", { class: "plain-list" }), bands = plot.bands;
    var last = bands.length ? bands.map(function (b) { return b.text; }) : [];
    var phase = h("select", {}, h("option", { value: "" }, "a span of your own"), last.map(function (text, i) {
      return h("option", { value: i }, text);
    }));
    var from = h("input", { type: "number", step: "any" }), to = h("input", { type: "number", step: "any" });
    var zoom = h("button", { type: "button" }, "Zoom"), whole = h("button", { type: "button" }, "Whole run");
    var copy = h("button", { type: "button", hidden: "" }, "Copy link");
    place.append(
      h("p", { class: "choose" }, h("label", {}, "Energy of ", phase), h("label", {}, " from ", from, " s"), h("label", {}, " to ", to, " s "), zoom, " ", whole, " ", copy),
      h("div", { role: "status" }, says),
      h("p", { class: "note" }, "Joules under the drawn line. Of a span no uncertainty is worked out: that of a phase stands in the table below."));
    place.hidden = false;

    function tell() {
      var chosen = bands.findIndex(function (band) { return micro(band.x0) === from.value && micro(band.x1) === to.value; });
      phase.value = chosen < 0 ? "" : chosen;
      if (!edges) { var trace = LJ.power(plot).trace; edges = trace.edges; lines = trace.lines; }
      var start = chosen < 0 ? Math.max(parseFloat(from.value), edges[0]) : bands[chosen].x0;
      var end = chosen < 0 ? Math.min(parseFloat(to.value), edges[edges.length - 1]) : bands[chosen].x1;
      says.replaceChildren();
      if (start < end) {
        lines.forEach(function (line) {
          var none = chosen >= 0 && (bands[chosen].none || {})[line.name];
          says.append(h("li", {}, sentence(line, plot, edges, start, end, none)));
        });
      }
      zoom.disabled = !(start < end);
      copy.hidden = !(start < end) || !navigator.clipboard;
      LJ.mark(box, start < end ? [start, end] : null);
      return [start, end];
    }
    function choose(start, end) {
      from.value = micro(start);
      to.value = micro(end);
      keep();
    }
    // Into the address, beside the run that run.html shows.
    function keep(field) {
      tell();
      var chosen = LJ.chosen(), run = /[#;&]id=([a-z0-9-]+)/.exec(location.hash);
      LJ.choose(Object.assign(chosen, run ? { id: run[1] } : {}, { from: from.value || null, to: to.value || null }), field);
    }
    function restore() {
      if (!place.isConnected) { return; }
      var chosen = LJ.chosen();
      from.value = chosen.from || "";
      to.value = chosen.to || "";
      if (edges || from.value || to.value) { tell(); }
    }
    function show(range) {
      if (window.Plotly && box.classList.contains("js-plotly-plot")) { window.Plotly.relayout(box, { "xaxis.range": range, selections: [] }); }
    }
    phase.addEventListener("change", function () {
      var chosen = bands[phase.value];
      if (chosen) { choose(chosen.x0, chosen.x1); }
    });
    from.addEventListener("input", function () { keep("from"); });
    to.addEventListener("input", function () { keep("to"); });
    zoom.addEventListener("click", function () { show(tell()); });
    whole.addEventListener("click", function () { tell(); show([edges[0], edges[edges.length - 1]]); });
    box.addEventListener("drawn", function () {
      box.on("plotly_selected", function (event) {
        if (event && event.range) {
          choose(Math.min.apply(null, event.range.x), Math.max.apply(null, event.range.x));
        }
      });
    });
    copy.addEventListener("click", function () {
      navigator.clipboard.writeText(location.href).then(function () {
        copy.textContent = "Copied";
        setTimeout(function () { copy.textContent = "Copy link"; }, 1500);
      }, function () { copy.hidden = true; });
    });
    addEventListener("popstate", restore);
    addEventListener("hashchange", restore);
    restore();
  };
})();
