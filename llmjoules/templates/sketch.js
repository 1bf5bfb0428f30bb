// A chart at once and without Plotly, which is four megabytes: charts.js puts it in a chart's place until a reader moves.
(function () {
  "use strict";

  function svg(name, attributes, text) {
    var element = document.createElementNS(document.querySelector("svg").namespaceURI, name);
    Object.keys(attributes).forEach(function (key) { element.setAttribute(key, attributes[key]); });
    if (text !== undefined) { element.textContent = plain(text); }
    return element;
  }

  // Labels are escaped for Plotly, which reads a little HTML.
  function plain(text) { return String(text).replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&"); }

  // Round numbers within a range; on a log axis powers of ten, or of two if there are fewer than two of those.
  function ticks(low, high, log, most) {
    var step, found = [], value;
    if (log) {
      step = Math.floor(high) > Math.ceil(low) ? 1 : Math.log10(2);
      for (value = Math.ceil(low / step) * step; value <= high; value += step) { found.push(Math.pow(10, value)); }
      return found.filter(function (_, place) { return place % Math.ceil(found.length / most) === 0; });
    }
    step = Math.pow(10, Math.floor(Math.log10((high - low) / most)));
    while ((high - low) / step > most) { step *= (high - low) / step > 2 * most ? 5 : 2; }
    for (value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) { found.push(Number(value.toPrecision(6))); }
    return found;
  }

  // Where values go between two edges. An axis without a range holds all values, and zero unless it is a log axis.
  function scale(axis, values, from, to) {
    var log = axis.type === "log", own = function (value) { return log ? Math.log10(value) : value; }, range = axis.range;
    if (!range) {
      var all = values.filter(function (value) { return typeof value === "number"; }).map(own).concat(log ? [] : [0]);
      var low = Math.min.apply(null, all), high = Math.max.apply(null, all), room = (high - low || 1) * 0.06;
      range = [log ? low - room : low, high + room];
    }
    function place(value) { return from + (own(value) - range[0]) / (range[1] - range[0] || 1) * (to - from); }
    return { place: place, log: log, low: Math.min(range[0], range[1]), high: Math.max(range[0], range[1]) };
  }

  function labels(axis, made, most) {
    var at = axis.tickvals || ticks(made.low, made.high, made.log, most);
    return at.map(function (value, place) {
      var text = axis.ticktext ? axis.ticktext[place] : window.LJ.number(value, 6).replace(/\.?0+$/, function (zeros) { return zeros[0] === "." ? "" : zeros; });
      var last = axis.showticksuffix === "first" ? place === 0 : place === at.length - 1;
      return { at: made.place(value), text: text + (axis.ticksuffix && last ? axis.ticksuffix : "") };
    });
  }

  function names(data) {
    return Array.from(new Set(data.flatMap(function (trace) { return trace.y; }))).filter(function (y) { return typeof y === "string"; });
  }

  // figure: as Plotly takes it, painted; made: its layout; words: the pixels that a text takes.
  window.LJ.sketch = function (box, data, made, paint, words) {
    var width = made.width, height = made.height, top = made.margin.t, right = width - made.margin.r, bottom = height - 28;
    var rows = names(data), bars = data[0].type === "bar", xs = data.flatMap(function (trace) { return trace.x; }), left = 12, y;
    if (bars) {
      xs = rows.map(function (_, row) { return data.reduce(function (sum, trace) { return sum + (trace.x[row] || 0); }, 0); });
    }
    if (rows.length) {
      y = { place: function (name) { return top + (rows.indexOf(name) + 0.5) / rows.length * (bottom - top); } };
      y.labels = rows.map(function (name) { return { at: y.place(name), text: name }; });
    } else {
      y = scale(made.yaxis, data.flatMap(function (trace) { return trace.y; }), bottom, top);
      y.labels = labels(made.yaxis, y, 4);
    }
    left += Math.max.apply(null, y.labels.map(function (label) { return words(label.text, 13); }));
    var x = scale(made.xaxis, xs, left + 4, right), muted = paint("--muted"), drawn = svg("svg", { width: width, height: height, "aria-hidden": "true", class: "sketch" });
    function add(name, attributes, text) { drawn.append(svg(name, attributes, text)); }
    function line(x1, y1, x2, y2, color, wide) { add("line", { x1: x1, y1: y1, x2: x2, y2: y2, stroke: color, "stroke-width": wide }); }
    (made.shapes || []).forEach(function (shape) {
      var at = [shape.x0, shape.x1].map(x.place), ends = [shape.y1, shape.y0].map(function (part) { return bottom - part * (bottom - top); });
      if (shape.fillcolor) { add("rect", { x: at[0], y: ends[0], width: Math.max(at[1] - at[0], 0), height: Math.max(ends[1] - ends[0], 0), fill: shape.fillcolor }); }
    });
    y.labels.forEach(function (label) {
      if (!rows.length) { line(left + 4, label.at, right, label.at, paint("--line"), 1); }
      add("text", { x: left - 4, y: label.at + 4, "text-anchor": "end", "font-size": 13, fill: muted }, label.text);
    });
    labels(made.xaxis, x, Math.max(2, Math.floor(width / 120))).forEach(function (label) {
      line(label.at, bottom, label.at, bottom + 4, paint("--line"), 1);
      add("text", { x: label.at, y: bottom + 19, "text-anchor": "middle", "font-size": 13, fill: muted }, label.text);
    });
    var sums = rows.map(function () { return 0; }), thick = rows.length ? (bottom - top) / rows.length * 0.8 : 0;
    data.forEach(function (trace) { (bars ? bar : curve)(trace); });

    function bar(trace) {
      rows.forEach(function (name, row) {
        var from = x.place(sums[row]), to = x.place(sums[row] += trace.x[row] || 0);
        add("rect", { x: from, y: y.place(name) - thick / 2, width: Math.max(to - from, 0), height: thick, fill: trace.marker.color });
      });
    }

    function curve(trace) {
      var path = "", pen = "M", last = null, color = trace.line && trace.line.color || trace.marker && trace.marker.color;
      trace.x.forEach(function (value, place) {
        if (value === null || trace.y[place] === null || trace.y[place] === undefined) { pen = "M"; return; }
        var at = x.place(value).toFixed(1), up = y.place(trace.y[place]).toFixed(1);
        path += pen === "L" && trace.line.shape === "hv" ? "L" + at + " " + last + "L" + at + " " + up : pen + at + " " + up;
        pen = "L";
        last = up;
        if (/markers/.test(trace.mode)) {
          add("circle", { cx: at, cy: up, r: trace.marker.size / 2, fill: /open/.test(trace.marker.symbol) ? "none" : color, stroke: color, opacity: trace.opacity || 1 });
          ["error_x", "error_y"].forEach(function (name) {
            var error = trace[name], along = name === "error_x", own = along ? x : y, middle = along ? value : trace.y[place];
            if (!error) { return; }
            var ends = [own.place(middle - error.arrayminus[place]), own.place(middle + error.array[place])].map(function (end) {
              return Math.max(along ? left : top, Math.min(along ? right : bottom, isFinite(end) ? end : along ? left : bottom));
            });
            if (along) { line(ends[0], up, ends[1], up, color, 2); } else { line(at, ends[0], at, ends[1], color, 1.4); }
          });
        }
      });
      if (trace.fill) { drawn.append(svg("path", { d: path, fill: trace.fillcolor, stroke: "none" })); return; }
      if (/lines/.test(trace.mode)) {
        add("path", { d: path, fill: "none", stroke: color, "stroke-width": trace.line.width, opacity: trace.opacity || 1, "stroke-dasharray": trace.line.dash && trace.line.dash !== "solid" ? "7 4" : "none", "stroke-linecap": "round" });
      }
    }

    (made.annotations || []).forEach(function (note) {
      var at = note.xref === "paper" ? left + note.x * (right - left) : x.place(x.log ? Math.pow(10, note.x) : note.x);
      var up = note.yref === "paper" ? bottom - note.y * (bottom - top) : y.place(y.log ? Math.pow(10, note.y) : note.y) + 4;
      add("text", { x: at + (note.xshift || 0), y: up - (note.yshift || 0), "font-size": note.font.size, "font-weight": note.font.weight || 400, fill: note.font.color }, note.text);
    });
    if (made.showlegend) {
      var place = 12;
      data.filter(function (trace) { return trace.showlegend !== false && trace.name; }).forEach(function (trace) {
        var size = words(plain(trace.name), 12);
        if (place + size > width) { return; }
        add("text", { x: place, y: top - 3, "font-size": 12, fill: trace.line && trace.line.color || trace.marker.color }, trace.name);
        place += size + 14;
      });
    }
    box.replaceChildren(drawn);
  };
})();
