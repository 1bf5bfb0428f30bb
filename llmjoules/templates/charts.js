// Draws a chart when it comes into view or gets the focus. Its data and numbers are in the page; Plotly comes on demand.
(function () {
  "use strict";
  var own = document.currentScript.dataset, source = own.plotly, loading = null, drawn = new Map(), marks = new Map();

  function plotly() {
    if (!loading) {
      loading = new Promise(function (resolve, reject) {
        // Parts of Plotly that draw maps add their style unless an element of its name is there. We draw none.
        own.styles.split(" ").filter(Boolean).forEach(function (id) {
          var stand = document.createElement("meta");
          stand.id = id;
          document.head.appendChild(stand);
        });
        var script = document.createElement("script");
        script.src = source;
        script.onload = function () { resolve(window.Plotly); };
        script.onerror = reject;
        document.head.appendChild(script);
      });
    }
    return loading;
  }

  // "--c-cpu" and "--c-cpu 0.2" become the theme's colour.
  function painter() {
    var style = getComputedStyle(document.documentElement);
    function colour(text) {
      var words = text.split(" "), hex = style.getPropertyValue(words[0]).trim();
      if (words.length < 2) { return hex; }
      var n = parseInt(hex.slice(1), 16);
      return "rgba(" + (n >> 16) + "," + (n >> 8 & 255) + "," + (n & 255) + "," + words[1] + ")";
    }
    function paint(value) {
      if (typeof value === "string") { return value.indexOf("--") === 0 ? colour(value) : value; }
      if (Array.isArray(value)) { return value.map(paint); }
      if (value && typeof value === "object") {
        var copy = {};
        Object.keys(value).forEach(function (name) { copy[name] = paint(value[name]); });
        return copy;
      }
      return value;
    }
    return paint;
  }

  function axis(given, paint) {
    return Object.assign({
      gridcolor: paint("--line"), linecolor: paint("--line"), zeroline: false, ticks: "outside", ticklen: 4,
      tickcolor: paint("--line"), automargin: true, tickfont: { color: paint("--muted") }
    }, given);
  }

  // Room to the left and right of the first and the last mark.
  function pad(x) {
    var log = x.type === "log", ends = [x.tickvals[0], x.tickvals[x.tickvals.length - 1]].map(function (value) {
      return log ? Math.log10(value) : value;
    }), room = (ends[1] - ends[0] || 1) * x.pad;
    x.range = [ends[0] - room, ends[1] + room];
  }

  // Pixels that a label takes in the page's own font; entities stand for one character.
  var canvas = document.createElement("canvas").getContext("2d");
  function words(text, fontSize, weight) {
    canvas.font = (weight || 400) + " " + fontSize + "px " + getComputedStyle(document.body).fontFamily;
    return canvas.measureText(text.replace(/&\w+;/g, "m")).width;
  }

  function layout(figure, box, paint) {
    var width = box.clientWidth, wide = width >= 420, given = figure.layout, notes = [], shapes = [];
    var longest = Math.max.apply(null, (figure.ends || []).map(function (end) { return words(end.text, 13, 700); }).concat(0));
    var direct = (figure.ends || []).length > 0 && longest < width * 0.36 && wide;
    var result = Object.assign({}, given, {
      width: width, height: box.clientHeight, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: paint("--ink") },
      margin: { l: 12, r: direct ? Math.ceil(longest) + 16 : 12, t: figure.bands ? 26 : 14, b: 8 },
      hoverlabel: { bgcolor: paint("--paper"), bordercolor: paint("--line"), font: { color: paint("--ink") } },
      showlegend: given.showlegend || ((figure.ends || []).length > 0 && !direct),
      legend: { orientation: "h", x: 0, y: figure.bands ? 1 + 26 / Math.max(box.clientHeight - 60, 60) : 1.04, yanchor: "bottom", traceorder: "normal", font: { size: 12 } },
      xaxis: axis(given.xaxis, paint), yaxis: axis(given.yaxis, paint),
      dragmode: figure.bands && wide ? "select" : false, selectdirection: "h", hovermode: "closest"
    });
    if (result.xaxis.pad) { pad(result.xaxis); }
    delete result.xaxis.pad;
    (figure.bands || []).forEach(function (band) {
      var range = given.xaxis.range, pixels = (band.x1 - band.x0) / (range[1] - range[0]) * (width - 70);
      shapes.push({ type: "rect", xref: "x", yref: "paper", x0: band.x0, x1: band.x1, y0: 0, y1: 1, layer: "below",
        line: { width: 0 }, fillcolor: paint(band.color + " 0.08") });
      shapes.push({ type: "rect", xref: "x", yref: "paper", x0: band.x0, x1: band.x1, y0: 1, y1: 1.014,
        line: { width: 0 }, fillcolor: paint(band.color) });
      if (words(band.text, 13) + 4 < pixels) {
        notes.push({ xref: "x", yref: "paper", x: band.x0, y: 1.02, xanchor: "left", yanchor: "bottom", showarrow: false,
          text: band.text, font: { size: 12, color: paint("--ink") } });
      }
    });
    if (marks.get(box)) {
      shapes.push({ type: "rect", xref: "x", yref: "paper", x0: marks.get(box)[0], x1: marks.get(box)[1], y0: 0, y1: 1, layer: "below",
        line: { width: 1, dash: "dot", color: paint("--muted") }, fillcolor: paint("--link 0.16") });
    }
    if (direct) { notes = notes.concat(endLabels(figure, box, paint)); }
    result.annotations = notes;
    result.shapes = shapes;
    return result;
  }

  // Names at the ends of lines; those that end at one place are pushed apart, and all stay inside the chart.
  function endLabels(figure, box, paint) {
    var logY = figure.layout.yaxis.type === "log", logX = figure.layout.xaxis.type === "log";
    var values = [], range = figure.layout.yaxis.range;
    figure.data.forEach(function (trace) {
      (trace.y || []).forEach(function (y) { if (typeof y === "number") { values.push(logY ? Math.log10(y) : y); } });
    });
    var top = range ? range[1] : Math.max.apply(null, values), bottom = logY ? Math.min.apply(null, values) : 0;
    var height = Math.max(box.clientHeight - 50, 60), perPixel = (top - bottom || 1) * (range ? 1 : 1.06) / height, gap = 17;
    var places = new Map();
    figure.ends.forEach(function (end) {
      var y = logY ? Math.log10(end.y) : end.y;
      places.set(end.x, (places.get(end.x) || []).concat({ end: end, y: y, at: (y - bottom) / perPixel }));
    });
    return Array.from(places.values()).flatMap(function (items) {
      var last = -Infinity;
      items.sort(function (a, b) { return a.at - b.at; }).forEach(function (item) {
        last = item.place = Math.max(item.at, last + gap);
      });
      var over = height - 6;
      items.slice().reverse().forEach(function (item) {
        item.place = Math.min(item.place, over);
        over = item.place - gap;
      });
      return items.map(function (item) {
        return { x: logX ? Math.log10(item.end.x) : item.end.x, y: item.y, xanchor: "left", yanchor: "middle", showarrow: false,
          xshift: figure.bands ? 4 : 10, yshift: item.place - item.at, text: item.end.text,
          font: { size: 13, weight: 700, color: paint(item.end.color) } };
      });
    });
  }

  // What other scripts of ours use. Data files are scripts that call put, since nothing else loads from a disk.
  var LJ = window.LJ = { root: own.root, value: new Map(), waiting: new Map(), loads: new Map() };

  LJ.put = function (name, value) {
    LJ.value.set(name, value);
    if (LJ.waiting.has(name)) { LJ.waiting.get(name)(value); }
  };

  LJ.load = function (name) {
    if (LJ.value.has(name)) { return Promise.resolve(LJ.value.get(name)); }
    if (!LJ.loads.has(name)) {
      LJ.loads.set(name, new Promise(function (resolve, reject) {
        LJ.waiting.set(name, resolve);
        var script = document.createElement("script");
        script.src = own.root + "data/" + name + ".js";
        script.onerror = function () {
          LJ.loads.delete(name);  // the next one to ask tries again
          reject(new Error("There is no " + name + "."));
        };
        document.head.appendChild(script);
      }));
    }
    return LJ.loads.get(name);
  };

  // What a reader chose lives in the address, `#v1;key=value;…`: an address of another form says nothing.
  var VERSION = "v1";

  LJ.chosen = function () {
    var words = location.hash.slice(1).split(";"), found = {};
    if (words.shift() !== VERSION) { return found; }
    words.forEach(function (word) {
      var at = word.indexOf("=");
      try { if (at > 0) { found[word.slice(0, at)] = decodeURIComponent(word.slice(at + 1)); } } catch (error) { /* a cut link */ }
    });
    return found;
  };

  // Empty where nothing was chosen, which null says of one key; an empty value is a choice.
  LJ.link = function (chosen) {
    var words = Object.keys(chosen).sort().filter(function (key) { return chosen[key] !== null; }).map(function (key) {
      return key + "=" + encodeURIComponent(chosen[key]);
    });
    return words.length ? "#" + [VERSION].concat(words).join(";") : "";
  };

  // A new entry in the history for a choice. field: the name of one that the reader types into, of which all keys until
  // the next other change make a single entry.
  var typed = "";

  LJ.choose = function (chosen, field) {
    if (LJ.link(chosen) === location.hash) { return; }
    history[field && field === typed ? "replaceState" : "pushState"](null, "", location.pathname + location.search + LJ.link(chosen));
    typed = field || "";
  };
  addEventListener("popstate", function () { typed = ""; });

  // A stretch of the x axis in another ground; null for none.
  LJ.mark = function (box, span) {
    marks.set(box, span);
    if (drawn.has(box) && window.Plotly && box.classList.contains("js-plotly-plot")) { draw(box); }
  };

  // A value that was packed: gzip inside base 85, since a disk does not compress.
  var BASE85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

  LJ.packed = function (name) {
    return LJ.load(name).then(function (text) {
      var bytes = new Uint8Array(Math.floor(text.length * 0.8)), at = 0;
      for (var i = 0; i < text.length; i += 5) {  // five characters are four bytes, see block.base85
        for (var word = 0, k = i; k < i + 5; k++) { word = word * 85 + (k < text.length ? BASE85.indexOf(text[k]) : 84); }
        for (var place = 16777216; place >= 1; place /= 256) { bytes[at++] = Math.floor(word / place) % 256; }
      }
      return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
    });
  };

  // An element: attributes, then children, which are elements or text; text is never read as HTML.
  LJ.h = function (name, attributes) {
    var space = /^(svg|rect)$/.test(name) ? document.querySelector("svg") : document.body;
    var element = document.createElementNS(space.namespaceURI, name);
    Object.keys(attributes || {}).forEach(function (key) {
      if (attributes[key] !== false && attributes[key] !== null) { element.setAttribute(key, attributes[key]); }
    });
    Array.from(arguments).slice(2).flat(2).forEach(function (child) {
      if (child !== null && child !== undefined && child !== "") { element.append(child); }
    });
    return element;
  };

  // ---- numbers: as records/rounding.py; a browser test sets the two side by side ----

  // The last digit of a number that rounded up from the middle between two goes to the even one, as it does in Python.
  function even(text, exact, places) {
    var rest = exact.split(".")[1].slice(places), odd = "13579".indexOf(text[text.length - 1]) >= 0;
    return odd && /^50*$/.test(rest) ? text.slice(0, -1) + (text[text.length - 1] - 1) : text;
  }

  function exponential(value, places) {
    var size = Math.abs(value), parts = size.toExponential(places).split("e");
    return (value < 0 ? "-" : "") + even(parts[0], size.toExponential(100).split("e")[0], places) + power(Number(parts[1]));
  }

  function power(of) { return "e" + (of < 0 ? "-" : "+") + String(Math.abs(of)).padStart(2, "0"); }

  // The power of ten of the first digit after rounding.
  function magnitude(value, significant) { return Number(value.toExponential(significant - 1).split("e")[1]); }

  function fixed(value, decimals) {
    var size = Math.abs(value), text;
    if (decimals >= 0) {
      text = even(size.toFixed(decimals), size.toFixed(100), decimals);
    } else {
      var unit = Math.pow(10, -decimals), whole = Math.floor(size / unit), rest = size - whole * unit;
      text = ((whole + (rest > unit / 2 || (rest === unit / 2 && whole % 2) ? 1 : 0)) * unit).toFixed(0);
    }
    var parts = text.split(".");
    if (parts[0].length > 4) { parts[0] = parts[0].replace(/\B(?=(\d{3})+$)/g, "\u202f"); }
    return (value < 0 && /[1-9]/.test(text) ? "-" : "") + parts.join(".");
  }

  // Three digits, thousands set apart, a dash where there is none.
  LJ.number = function (value, significant) {
    significant = significant || 3;
    if (value === null || !isFinite(value)) { return "–"; }
    if (value === 0) { return "0"; }
    var decimals = significant - 1 - magnitude(value, significant);
    return Math.abs(value) >= 1e9 || decimals > 7 ? exponential(value, significant - 1) : fixed(value, decimals);
  };

  // How many decimals a mean and its half-width are shown with.
  function decimalsOf(mean, half) {
    var finest = mean ? 4 - magnitude(mean, 5) : Infinity;
    if (!half) { return Math.min(finest, mean ? Math.max(3, 2 - magnitude(mean, 3)) : 3); }
    var decimals = Math.min(1 - magnitude(half, 2), finest), ofMean = mean && half > Math.abs(mean) ? 1 - magnitude(mean, 2) : Infinity;
    return ofMean <= decimals + 2 ? ofMean : decimals;
  }

  function shifted(value, by) {
    var parts = value.toExponential(17).split("e");
    return Number(parts[0] + "e" + (Number(parts[1]) + by));
  }

  // A mean and its half-width to the same decimal; the half-width is empty where there is none.
  LJ.plusMinus = function (mean, half) {
    if (mean === null || !isFinite(mean)) { return ["–", ""]; }
    if (half === null || half === undefined || !isFinite(half)) { return [LJ.number(mean), ""]; }
    var exact = half === 0, largest = Math.max(Math.abs(mean), half), decimals = decimalsOf(mean, half), suffix = "";
    if (largest >= 1e9 || decimals > 7) {
      var by = magnitude(largest, 5);
      mean = shifted(mean, -by);
      half = shifted(half, -by);
      decimals = decimalsOf(mean, half);
      suffix = power(by);
    }
    var shown = fixed(half, decimals);
    if (!exact && !/[1-9]/.test(shown)) { shown = fixed(Math.pow(10, -decimals), decimals); }
    return [fixed(mean, decimals) + suffix, shown + suffix];
  };

  // Names in a legend that are wider than the chart, in as many lines as they need.
  function folded(data, box) {
    var room = box.clientWidth - 60;
    return data.map(function (trace) {
      if (!trace.name || words(trace.name, 12) <= room) { return trace; }
      var lines = [""];
      trace.name.split(" \u00b7 ").forEach(function (part) {
        var last = lines[lines.length - 1], longer = last ? last + " \u00b7 " + part : part;
        if (last && words(longer, 12) > room) { lines.push(part); } else { lines[lines.length - 1] = longer; }
      });
      return Object.assign({}, trace, { name: lines.join("<br>") });
    });
  }

  function draw(box) {
    var figure = drawn.get(box), paint = painter();
    return plotly().then(function (Plotly) {
      if (box.firstChild && box.firstChild.matches(".sketch")) { box.replaceChildren(); }
      return Plotly.react(box, folded(paint(figure.data), box), layout(figure, box, paint), { displayModeBar: false, displaylogo: false });
    });
  }

  function figureOf(box) {
    var figure = JSON.parse(document.getElementById(box.dataset.chart).textContent);
    return box.dataset.of === "tokens" ? LJ.tokens(figure) : figure.edges ? LJ.power(figure).figure : figure;
  }

  function start(box) {
    if (drawn.has(box)) { return; }
    drawn.set(box, figureOf(box));
    draw(box).then(function () {
      box.dispatchEvent(new Event("drawn"));
      var width = box.clientWidth, timer = 0;
      new ResizeObserver(function () {
        if (box.clientWidth === width) { return; }
        width = box.clientWidth;
        clearTimeout(timer);
        timer = setTimeout(function () { draw(box); }, 120);
      }).observe(box);
    }, function () {
      box.classList.add("failed");
      box.textContent = "The chart could not be loaded; its numbers are in the table below.";
    });
  }

  var seen = new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) {
      if (entry.isIntersecting) { seen.unobserve(entry.target); (moved ? start : sketch)(entry.target); }
    });
  }, { rootMargin: "120px" });

  // Until the reader moves, a drawing without Plotly does: it is there at once, and costs a phone nothing.
  var moved = false, sketched = [], MOVES = ["pointermove", "pointerdown", "keydown", "wheel", "touchstart", "scroll", "resize"];

  function sketch(box) {
    var figure = figureOf(box), paint = painter();
    if (sketched.indexOf(box) < 0) { sketched.push(box); }
    LJ.sketch(box, paint(figure.data), layout(figure, box, paint), paint, words);
  }

  function wake() {
    MOVES.forEach(function (name) { removeEventListener(name, wake); });
    moved = true;
    sketched.splice(0).forEach(start);
  }

  MOVES.forEach(function (name) { addEventListener(name, wake, { passive: true }); });
  // For all charts below an element.
  LJ.watch = function (element) {
    element.querySelectorAll("[data-chart]").forEach(function (box) {
      seen.observe(box);
      box.addEventListener("focus", function () { start(box); });
    });
    element.querySelectorAll("[data-copy]").forEach(copying);
    if (LJ.span) { element.querySelectorAll("[data-span]").forEach(LJ.span); }
  };
  document.addEventListener("DOMContentLoaded", function () { LJ.watch(document); });
  document.addEventListener("themechange", function () {
    sketched.forEach(sketch);
    drawn.forEach(function (_, box) { draw(box); });
  });

  // On a narrow screen the page that one is on may be beyond the edge of the list of pages.
  var here = document.querySelector(".top nav [aria-current]");
  if (here) { here.parentNode.scrollLeft = here.offsetLeft - here.parentNode.offsetLeft - 60; }

  // A link to a setting opens its list of runs.
  function unfold() {
    var name = location.hash.slice(1), target = null;
    try { target = name && document.getElementById(decodeURIComponent(name)); } catch (error) { /* a cut link */ }
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  }
  addEventListener("hashchange", unfold);
  unfold();

  function copying(button) {
    var text = document.getElementById(button.dataset.copy).textContent;
    button.hidden = false;
    button.addEventListener("click", function () {
      function done() {
        button.textContent = "Copied";
        setTimeout(function () { button.textContent = "Copy"; }, 1500);
      }
      if (navigator.clipboard) { navigator.clipboard.writeText(text).then(done, function () { select(button); }); } else { select(button); }
    });
  }

  function select(button) {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    button.textContent = "Selected";
  }
})();
