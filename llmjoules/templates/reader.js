// What the reader chooses in a table: filter, limits, order, prices. It lives in the link (#v1;key=value;…), so that a
// copied link shows the same, and back goes back. A page may have the best rows alone: all of them are loaded when a
// choice needs them. Without this script it shows its rows in their own order.
(function () {
  "use strict";
  var ROOM = 200, BOX = document.querySelector("[data-reader]");
  if (!BOX) { return; }
  var LJ = window.LJ, table = document.querySelector("table.rows"), groups = [], status = BOX.querySelector("[data-status]");
  var more = BOX.dataset.more, loading = null, whole = null, picked = [], state = {}, fields = Array.from(BOX.querySelectorAll("[name]")), originals = new Map();

  // ---- state in the link -------------------------------------------------------------------------------------------

  function link(changes) {
    var kept = {};
    Object.keys(changes).forEach(function (key) { if (changes[key] !== standard(key)) { kept[key] = changes[key]; } });
    return kept;
  }

  function standard(key) {
    var field = fields.find(function (one) { return one.name === key; });
    return field ? field.dataset.standard || "" : "";
  }

  function choose(key, value, field) {
    state[key] = value;
    LJ.choose(link(state), field);
    show();
  }

  function restore() {
    var given = LJ.chosen();
    state = { sort: given.sort || "" };
    fields.forEach(function (field) {
      state[field.name] = field.name in given ? given[field.name] : standard(field.name);
      if (field.type === "checkbox") { field.checked = state[field.name] === "1"; } else { field.value = state[field.name]; }
      if (field.type === "select-one" && field.value !== state[field.name]) { field.value = state[field.name] = standard(field.name); }
    });
    show();
  }

  // ---- rows --------------------------------------------------------------------------------------------------------

  // A row of figures and the row about it stay together.
  function gather() {
    var bodies = Array.from(table.tBodies), one = bodies.pop();
    groups = bodies.map(function (body) {
      return { body: body, order: "", rows: Array.from(body.querySelectorAll("tr.first")).map(function (row, place) {
        return { row: row, about: row.nextElementSibling, place: place, text: row.dataset.find.toLowerCase() };
      }) };
    });
    whole = { body: one, order: "", rows: groups.reduce(function (found, group) { return found.concat(group.rows); }, []) };
    originals = new Map();
    table.querySelectorAll("th[data-sort]").forEach(sorting);
    groups.forEach(function (group) { group.rows.forEach(picking); });
  }

  // The parts of the table that are shown now: its sections, or the last part, which is for all rows in one list. Rows
  // that have moved to other parts are put in order anew.
  function parts() {
    var together = state.together === "1", shown = together ? [whole] : groups;
    groups.concat(whole).forEach(function (part) {
      if (shown.indexOf(part) < 0) { part.body.hidden = true; part.order = null; }
    });
    return shown;
  }

  // The table of all rows, made of the same templates as that of the page, takes its place.
  function all() {
    if (!loading) {
      status.textContent = "Loading all rows\u2026";
      loading = LJ.packed(more).then(function (html) {
        var made = new DOMParser().parseFromString(html, "text/html").querySelector("table.rows");
        table.replaceChildren.apply(table, Array.from(made.children));
        more = "";
        gather();
      });
    }
    return loading;
  }

  function standing() {
    return !state.sort && ["find", "least", "most", "best", "together"].every(function (key) { return state[key] === standard(key); });
  }

  function number(text) {
    var value = parseFloat(String(text).replace(",", "."));
    return isFinite(value) ? value : null;
  }

  function figure(item, key) { return number(item.row.dataset[key]); }

  function passes(item, wanted) {
    var speed = figure(item, "speed"), power = figure(item, "power");
    return wanted.words.every(function (word) { return item.text.indexOf(word) >= 0; }) &&
      (wanted.least === null || (speed !== null && speed >= wanted.least)) &&
      (wanted.most === null || (power !== null && power <= wanted.most));
  }

  // Of each model on each system the setting with the lowest mean of the work that most did, as ranks.best_rows chooses;
  // where none has a figure one of them is kept, which says why.
  function best(items) {
    var lowest = new Map();
    items.forEach(function (item) {
      var key = item.row.dataset.pair, other = lowest.get(key);
      if (!other || before(item, other)) { lowest.set(key, item); }
    });
    return new Set(lowest.values());
  }

  // One in doubt comes after all others.
  function before(a, b) {
    var x = a.row.dataset, y = b.row.dataset;
    if (!x.doubt !== !y.doubt) { return !x.doubt; }
    if (x.shared !== y.shared) { return Number(x.shared) > Number(y.shared); }
    return cost(a) < cost(b) || (cost(a) === cost(b) && x.key < y.key);
  }

  // Joules that were not measured choose nothing: speed does.
  function cost(item) {
    var token = figure(item, "token"), speed = figure(item, "speed");
    if (token === null) { return Infinity; }
    return "measured" in item.row.dataset ? token : speed === null ? Infinity : -speed;
  }

  // ---- ranks, as ranks.py has them: a range where intervals overlap ------------------------------------------------

  // The ends of an interval, as it is and widened by what its board may be off by; where that is not known there are none.
  function ends(item) {
    var mean = figure(item, "token"), half = figure(item, "half"), gain = figure(item, "gain"), open = half === null || gain === null;
    return {
      item: item, board: item.row.dataset.board || null, within: item.row.dataset.within,
      low: half === null ? -Infinity : mean - half, high: half === null ? Infinity : mean + half,
      wide_low: open ? -Infinity : (mean - half) * (1 - gain), wide_high: open ? Infinity : (mean + half) * (1 + gain)
    };
  }

  function rank(items) {
    var works = new Map();
    items.forEach(function (item) {
      var data = item.row.dataset;
      if (data.work) { works.set(data.work, works.get(data.work) || []); works.get(data.work).push(ends(item)); }
    });
    var places = new Map();
    works.forEach(function (rows) {
      var makers = rows.some(function (row) { return row.within; }) && rows.some(function (row) { return row.within !== rows[0].within; });
      if (rows.length < 2 || makers) { return; }
      rows.forEach(function (row) {
        var first = 1, last = rows.length;
        rows.forEach(function (other) {
          var same = row.board !== null && row.board === other.board;
          if (same ? other.high < row.low : other.wide_high < row.wide_low) { first += 1; }
          if (same ? other.low > row.high : other.wide_low > row.wide_high) { last -= 1; }
        });
        places.set(row.item, "rank " + (first < last ? first + "\u2013" + last : first) + " of " + rows.length);
      });
    });
    return places;
  }

  // The column of energy is sorted by the figure that it shows: while there are prices, that of a request.
  function order() {
    var asked = state.sort || (state.together === "1" ? "token" : "");
    return KINDS[state.as] ? asked.replace(/joules$/, "request") : asked;
  }

  // One in doubt comes last, whatever the order.
  function ordered(items) {
    var key = order().replace(/^-/, ""), sign = order().charAt(0) === "-" ? -1 : 1;
    return items.slice().sort(function (a, b) {
      var doubt = Number("doubt" in a.row.dataset) - Number("doubt" in b.row.dataset);
      if (doubt && key) { return doubt; }
      var x = key ? figure(a, key) : a.place, y = key ? figure(b, key) : b.place;
      if (x === y) { return a.place - b.place; }
      if (x === null || y === null) { return x === null ? 1 : -1; }
      return (x - y) * (key ? sign : 1);
    });
  }

  function show() {
    if (more && !standing()) {
      all().then(draw, function () { status.textContent = "The other rows could not be loaded: these are the best ones alone."; });
    } else {
      draw();
    }
  }

  function draw() {
    var wanted = {
      words: state.find.toLowerCase().split(/\s+/).filter(Boolean), least: number(state.least), most: number(state.most)
    }, shown = 0, left = [], count = Number(BOX.dataset.all);
    groups.forEach(function (group) { left = left.concat(group.rows.filter(function (item) { return passes(item, wanted); })); });
    var kept = state.best === "1" && !more ? best(left) : new Set(left), list = parts(), room = rooms(list, kept), seen = 0;
    list.forEach(function (group) {
      var visible = group.rows.filter(function (item) { return kept.has(item); }), places = more ? null : rank(visible);
      var keys = new Set(visible.map(function (item) { return item.row.dataset.key; }));
      var near = new Set(ordered(visible).slice(0, room.get(group)));
      seen += near.size;
      group.rows.forEach(function (item) {
        item.row.hidden = item.about.hidden = !near.has(item);
        var place = item.about.querySelector("[data-rank]"), tied = item.about.querySelector("[data-tied]");
        if (places) {  // else the page says it: among rows that it may not have
          place.textContent = places.get(item) || "";
          place.hidden = !places.has(item);
        }
        if (tied) { tied.hidden = !keys.has(tied.dataset.tied); }
      });
      if (group.order !== order()) {
        ordered(group.rows).forEach(function (item) { group.body.append(item.row, item.about); });
        group.order = order();
      }
      group.body.hidden = !visible.length;
      shown += visible.length;
    });
    heads();
    prices();
    status.textContent = (shown === count ? "" : shown + " of ") + (count === 1 ? "1 row" : count + " rows") +
      (shown ? "" : ": no setting is within these limits") + (seen < shown ? "; the first " + seen + " are shown" : "");
  }

  // How many rows of each group are shown: all on a page that came with them; of a long table, which a browser takes a
  // second to lay out, ROOM in all. What a short group leaves free, longer ones use.
  function rooms(list, kept) {
    var sizes = list.map(function (group) {
      return { group: group, rows: group.rows.filter(function (item) { return kept.has(item); }).length };
    }), found = new Map(), left = BOX.dataset.more && !more ? ROOM : Infinity;
    sizes.sort(function (a, b) { return a.rows - b.rows; }).forEach(function (size, place) {
      var take = Math.min(size.rows, Math.max(Math.floor(left / (sizes.length - place)), 5));
      found.set(size.group, take);
      left -= take;
    });
    return found;
  }

  function heads() {
    table.querySelectorAll("th[data-sort]").forEach(function (head) {
      var key = head.dataset.sort, up = state.sort === key, down = state.sort === "-" + key;
      head.setAttribute("aria-sort", up ? "ascending" : down ? "descending" : "none");
    });
  }

  function sorting(head) {
    var button = document.createElement("button"), key = head.dataset.sort;
    button.type = "button";
    button.className = "sort";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("click", function () {
      choose("sort", state.sort === key ? "-" + key : state.sort === "-" + key ? "" : key);
    });
  }

  // ---- rows for a comparison ---------------------------------------------------------------------------------------

  var compare = BOX.querySelector("[data-compare]"), comparing = compare.getAttribute("href");

  function picking(item) {
    var box = item.about.querySelector("[data-pick]"), key = item.row.dataset.key;
    if (!box) { return; }
    box.checked = picked.indexOf(key) >= 0;
    box.addEventListener("change", function () {
      picked = picked.filter(function (other) { return other !== key; }).concat(box.checked ? key : []);
      compare.hidden = !picked.length;
      compare.href = comparing + "#v1;s=" + picked.join(",");
      compare.textContent = picked.length < 2 ? "Compare with \u2026" : "Compare " + picked.length + " rows";
    });
  }

  // ---- prices: joules of a run as what they cost, derived from figures that the reader gives ------------------------

  var KINDS = {
    wh: { unit: function () { return "Wh"; }, factor: function () { return 1; } },
    money: { unit: function () { return state.currency || "money"; }, factor: function () { return price("price", 1e-3); } },
    carbon: { unit: function () { return "gCO\u2082e"; }, factor: function () { return price("grid", 1e-3); } }
  };

  function price(key, scale) { var value = number(state[key]); return value === null ? null : value * scale; }

  // The fields of prices that are shown and hold less than there can be: with these nothing is worked out.
  function refused() {
    return fields.filter(function (field) { return field.min && field.closest(".prices"); }).filter(function (field) {
      var value = number(state[field.name]), wrong = value !== null && value < Number(field.min) && !field.closest("[hidden]");
      field.setAttribute("aria-invalid", String(wrong));
      return wrong;
    });
  }

  function short(value) {
    var size = Math.abs(value);
    if (value !== 0 && (size < 1e-3 || size >= 1e7)) { return value.toExponential(2); }
    return String(Number(value.toPrecision(3)));
  }

  function prices() {
    var head = table.querySelector("th[data-energy]"), kind = KINDS[state.as], pue = price("pue", 1), day = price("day", 1);
    if (!head) { return; }
    var place = head.querySelector("button") || head, requests = day === null ? 1000 : day;
    if (!originals.has(head)) { originals.set(head, place.textContent); }
    BOX.querySelectorAll("[data-for]").forEach(function (part) {
      part.hidden = part.dataset.for.split(" ").indexOf(state.as) < 0;
    });
    var wrong = refused();
    place.textContent = kind ? kind.unit() + (day === null ? " per 1,000 requests" : " a day") : originals.get(head);
    groups.forEach(function (group) {
      group.rows.forEach(function (item) {
        var cell = item.row.querySelector("[data-cost]");
        if (!originals.has(cell)) { originals.set(cell, Array.from(cell.childNodes)); }
        if (!kind) { cell.replaceChildren.apply(cell, originals.get(cell)); return; }
        var joules = figure(item, "request"), half = figure(item, "requestHalf"), factor = kind.factor();
        var scale = wrong.length || factor === null || joules === null ? null : factor / 3600 * requests * (pue === null ? 1 : pue);
        cell.replaceChildren();
        var words = document.createElement("span");
        words.className = "num";
        var shown = LJ.plusMinus(scale === null ? null : joules * scale, half === null ? null : half * scale);
        words.textContent = shown[0];
        cell.appendChild(words);
        if (shown[1]) {
          var pm = document.createElement("span");
          pm.className = "pm";
          pm.textContent = " \u00b1 " + shown[1];
          words.appendChild(pm);
        }
      });
    });
    var said = BOX.querySelector("[data-derived]");
    said.hidden = !kind;
    if (wrong.length) {
      said.textContent = wrong.map(function (field) {
        return field.labels[0].firstChild.textContent.trim() + " cannot be below " + field.min;
      }).join("; ") + ": no figure is worked out.";
    } else if (kind) {
      said.textContent = "Derived: joules of a request, of a batch each row\u2019s part, / 3600 \u00d7 " + (day === null ? "1,000 requests" : short(day) + " requests a day") +
        (state.as === "money" ? " \u00d7 " + (number(state.price) === null ? "a price that you give" : short(number(state.price)) + " " + (state.currency || "money") + "/kWh") : "") +
        (state.as === "carbon" ? " \u00d7 " + (number(state.grid) === null ? "a grid intensity that you give" : short(number(state.grid)) + " gCO\u2082e/kWh") : "") +
        (pue === null ? "; without PUE" : " \u00d7 PUE " + short(pue)) + ". Of the components in each row alone.";
    }
  }

  // ---- copies ------------------------------------------------------------------------------------------------------

  function cellText(cell) { return cell.textContent.replace(/\s+/g, " ").trim().replace(/[\\|`*_<>\[\]]/g, "\\$&"); }

  function markdown() {
    var heads = Array.from(table.tHead.rows[0].cells).filter(function (cell) { return !cell.classList.contains("axis-label"); });
    var lines = [];
    parts().forEach(function (group) {
      var items = Array.from(group.body.querySelectorAll("tr.first")).filter(function (row) { return !row.hidden; });
      if (!items.length) { return; }
      lines.push("**" + cellText(group.body.querySelector(".section strong")) + "** " + Array.from(group.body.querySelectorAll(".section .note")).map(cellText).join(" "), "");
      lines.push("| " + heads.map(cellText).concat("Says").join(" | ") + " |", "|" + heads.map(function () { return " --- |"; }).join("") + " --- |");
      items.forEach(function (row) {
        var cells = Array.from(row.cells).filter(function (cell) { return !cell.classList.contains("axis"); });
        var said = Array.from(row.nextElementSibling.querySelectorAll(".rank, .badge, .note")).filter(function (one) { return !one.hidden; });
        lines.push("| " + cells.map(cellText).concat(said.map(cellText).join("; ")).join(" | ") + " |");
      });
      lines.push("");
    });
    var derived = BOX.querySelector("[data-derived]");
    if (!derived.hidden) { lines.push(derived.textContent, ""); }
    lines.push("Source: " + location.href);
    return lines.join("\n") + "\n";
  }

  BOX.querySelectorAll("[data-take]").forEach(function (button) {
    var name = button.textContent;
    button.addEventListener("click", function () {
      var text = button.dataset.take === "link" ? location.href : markdown();
      function done(word) {
        button.textContent = word;
        setTimeout(function () { button.textContent = name; }, 1500);
      }
      var shown = BOX.querySelector("[data-copied]");
      function by_hand() {
        shown.hidden = false;
        shown.value = text;
        shown.select();
        done("Copy it from the box");
      }
      if (navigator.clipboard) { navigator.clipboard.writeText(text).then(function () { done("Copied"); }, by_hand); } else { by_hand(); }
    });
  });

  fields.forEach(function (field) {
    var typing = field.type === "text" || field.type === "number" || field.type === "search";
    field.addEventListener(typing ? "input" : "change", function () {
      choose(field.name, field.type === "checkbox" ? (field.checked ? "1" : "0") : field.value.trim(), typing && field.name);
    });
  });
  BOX.querySelector("[data-reset]").addEventListener("click", function () {
    LJ.choose({});
    restore();
  });
  addEventListener("popstate", restore);
  addEventListener("hashchange", restore);
  var unfold = BOX.querySelector(".unfold");
  function open(yes) {
    BOX.classList.toggle("open", yes);
    unfold.setAttribute("aria-expanded", String(yes));
  }
  unfold.addEventListener("click", function () { open(!BOX.classList.contains("open")); });
  gather();
  restore();
  open(Object.keys(link(state)).length > 0);
})();
