// All runs in pages of a hundred, by words, or by what another page asks for. The index is loaded when a filter is touched.
(function () {
  "use strict";
  var LJ = window.LJ, h = LJ.h, number = LJ.number, SIZE = 100;
  var place = document.querySelector("[data-finder]"), results = document.querySelector("[data-found]"), root = place.dataset.root;
  var index = null, found = [], page = 0, wanted = {};

  var search = place.querySelector("input"), order = place.querySelector("select"), only = place.querySelector("[data-only]");
  var says = place.querySelector("[role=status]"), pager = h("p", { class: "pager" }), all = h("button", { type: "button" }, "Show all");

  function count(value) { return value.toLocaleString("en").replace(/,/g, "\u202f"); }

  function coded(column, i) { return column[0][column[1][i]]; }

  // What an address may ask for beside words, and how the page says it. A model or system has a key, since its name may be cut.
  var LISTS = {
    missing: "without energy", mismatch: "with a trace that disagrees", unchecked: "with a trace that was not compared",
    few: "of settings with fewer than five runs"
  };
  var ONLY = {
    setting: function () { return "one setting"; }, kind: String, flag: function (flag) { return "flag " + flag; },
    health: function (list) { return LISTS[list] || list; }, model: named("model"), system: named("system")
  };

  function keys(name) { return index[name + "_key"] || index[name][0]; }

  function named(name) {
    return function (key) { return index[name][0][keys(name).indexOf(key)] || key; };
  }

  // Rows that match, as numbers: each list of names is searched once, and the rows by their numbers.
  function matches() {
    var count = index.own.length, words = search.value.toLowerCase().split(/\s+/).filter(Boolean), keep = [];
    var models = index.model[0].map(lower), systems = index.system[0].map(lower), pairs = new Map();
    var filters = Object.keys(wanted).map(function (name) {
      return { rows: index[name][1], fit: keys(name).map(function (own) { return own.split("\n").indexOf(wanted[name]) >= 0; }) };
    });
    function fits(model, system) {
      var key = model * systems.length + system;
      if (!pairs.has(key)) {
        var text = models[model] + " " + systems[system];
        pairs.set(key, words.every(function (word) { return text.indexOf(word) >= 0; }));
      }
      return pairs.get(key);
    }
    for (var i = 0; i < count; i++) {
      if (words.length && !fits(index.model[1][i], index.system[1][i])) { continue; }
      if (filters.every(function (filter) { return filter.fit[filter.rows[i]]; })) { keep.push(i); }
    }
    var by = order.value, sign = by === "speed" ? -1 : 1;
    if (by) {
      var values = index[by];
      keep.sort(function (a, b) {
        var one = values[a], other = values[b];
        return one === null ? (other === null ? a - b : 1) : other === null ? -1 : sign * (one - other) || a - b;
      });
    }
    return keep;
  }

  function lower(text) { return text.toLowerCase(); }

  function badge(kind, words) { return [h("span", { class: "badge " + kind }, words), " "]; }

  function row(i) {
    var id = coded(index.slug, i), per = index.per_token[i], small = per !== null && per > 0 && per < 0.1;
    id = (id ? id + "-" : "") + index.hash.substr(8 * i, 8);
    var href = root + (index.own[i] === "1" ? "runs/" + id + ".html" : "run.html#id=" + id);
    var load = index.load[i] ? "load " + index.load[i] : "–", kind = coded(index.kind, i), source = coded(index.source, i);
    var system = coded(index.system, i), units = coded(index.units, i);
    return h("tr", {},
      h("th", { scope: "row", class: "name" }, h("a", { href: href }, coded(index.model, i)), h("span", { class: "note when" }, coded(index.when, i)),
        h("span", { class: "narrow" }, system + ", " + units + ", " + load)),
      h("td", { class: "place", title: system }, system), h("td", { class: "place" }, units), h("td", { class: "place" }, load),
      h("td", { class: "n" }, number(index.speed[i])),
      h("td", { class: "n" }, small ? [number(per * 1000), " ", h("span", { class: "pm" }, "mJ")] : number(per)),
      h("td", { class: "n" }, h("span", { class: "num" }, number(index.joules[i], 4), index.doubt[i] === null ? "" : h("span", { class: "pm" }, " ± " + number(index.doubt[i], 2)))),
      h("td", { class: "n" }, number(index.watts[i])),
      h("td", {}, kind ? badge(kind === "failed" ? "warn" : kind, kind) : "", coded(index.component, i) ? badge("scope", coded(index.component, i)) : "",
        source && source !== "measured" ? badge(source, source) : "", index.dummy[i] === "1" ? badge("dummy", "dummy weights") : ""));
  }

  function table() {
    var names = [["Run"], ["System", "place"], ["Setting", "place"], ["Load", "place"], ["tokens/s", "n"], ["J/token", "n"], ["J", "n"], ["W", "n"], ["Scope"]];
    return h("section", { class: "scroll", tabindex: 0, "aria-label": "Runs" }, h("table", { class: "plain runs named" },
      h("thead", {}, h("tr", {}, names.map(function (name) { return h("th", { scope: "col", class: name[1] || null }, name[0]); }))),
      h("tbody", {}, found.slice(page * SIZE, (page + 1) * SIZE).map(row))));
  }

  function turn(words, to) {
    var button = h("button", { type: "button" }, words);
    button.disabled = to < 0 || to * SIZE >= found.length || to === page;
    button.addEventListener("click", function () { page = to; choose(); show(); results.scrollIntoView(); });
    return button;
  }

  function show() {
    var last = Math.max(Math.ceil(found.length / SIZE) - 1, 0);
    says.textContent = count(found.length) + " of " + count(index.own.length) + " records; page " + (page + 1) + " of " + (last + 1);
    pager.replaceChildren(turn("First", 0), " ", turn("Previous", page - 1), " ", turn("Next", page + 1), " ", turn("Last", last));
    only.replaceChildren.apply(only, Object.keys(wanted).length ? ["only " + Object.keys(wanted).map(function (name) { return ONLY[name](wanted[name]); }).join(", ") + " ", all] : []);
    results.replaceChildren(found.length ? table() : h("p", { class: "lead" }, "No record is like this."), pager);
  }

  function find() {
    LJ.load("index").then(function (loaded) {
      var start = performance.now();
      index = loaded;
      found = matches();
      page = Math.min(page, Math.max(Math.ceil(found.length / SIZE) - 1, 0));
      show();
      place.dataset.took = (performance.now() - start).toFixed(1);
    }, function (error) { says.textContent = error.message; });
  }

  // In the address: what ONLY has, which other pages link to, and find, sort and page.
  function restore() {
    var asked = LJ.chosen();
    wanted = {};
    Object.keys(ONLY).forEach(function (name) { if (asked[name]) { wanted[name] = asked[name]; } });
    search.value = asked.find || "";
    order.value = asked.sort || "";
    if (order.selectedIndex < 0) { order.value = ""; }
    page = Math.max(parseInt(asked.page, 10) - 1 || 0, 0);
    if (LJ.link(asked) || index) { find(); }
  }

  function choose(field) {
    LJ.choose(Object.assign({}, wanted, { find: search.value.trim() || null, sort: order.value || null, page: page ? page + 1 : null }), field);
  }

  function changed(field) {
    page = 0;
    choose(field);
    find();
  }

  all.addEventListener("click", function () {
    wanted = {};
    changed();
  });
  search.addEventListener("input", function () { changed("find"); });
  order.addEventListener("change", function () { changed(); });
  addEventListener("popstate", restore);
  addEventListener("hashchange", restore);
  restore();
})();
