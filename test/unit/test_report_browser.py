"""The report and the comparison in a real browser: they open offline, and what is in them works."""

from __future__ import annotations

import browser as chrome
import pytest
import runs

from alpamayo_ros.calibration import load_rig
from alpamayo_ros.cli import main as cli
from alpamayo_ros.report.page import render_report, write_page
from alpamayo_ros.report.run_folder import load_run
from alpamayo_ros.resources import share_path

# What a reasoning must not be able to do to the page.
HOSTILE = '<img src=x onerror="document.title=1"></script><script>document.title=2</script>'


@pytest.fixture(scope='module')
def driver():
    with chrome.browser() as found:
        yield found


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    folder = runs.make_run(tmp_path_factory.mktemp('runs') / 'a', plans=9, refused=(2, 3),
                           bias=0.002, reasoning=HOSTILE, navigation=HOSTILE)
    page = folder / 'report.html'
    write_page(render_report(load_run(folder), load_rig(share_path('config', 'rig.yaml'))), page)
    return page


@pytest.fixture()
def shown(driver, report):
    driver.get('about:blank')
    chrome.messages(driver), chrome.requests(driver)
    chrome.open_page(driver, report)
    return driver


def by(driver, css):
    return driver.find_elements('css selector', css)


def visible_plans(driver):
    return [item.get_attribute('id') for item in by(driver, '#shown .plan') if item.is_displayed()]


def rows(driver):
    return [row.get_attribute('data-plan') for row in by(driver, '#list tbody tr')]


def test_it_opens_without_errors_and_asks_for_nothing(shown, report):
    assert chrome.messages(shown) == []
    assert chrome.requests(shown) == [report.resolve().as_uri()]
    assert shown.title == 'Replay of demo_drive'
    assert HOSTILE in shown.find_element('css selector', '.reasoning bdi').get_attribute(
        'textContent')


def test_pictures_are_there_with_paths_over_them(shown):
    images = by(shown, '#plan-1 .view img')
    assert len(images) == 6
    for image in images:
        assert shown.execute_script('return arguments[0].naturalWidth', image) == 400
        assert shown.execute_script('return arguments[0].complete', image)
    places = shown.execute_script("""
        const photo = document.querySelectorAll('#plan-1 .view .photo')[1];
        const box = photo.querySelector('svg').getBoundingClientRect();
        const line = photo.querySelector('path.selected').getBoundingClientRect();
        const image = photo.querySelector('img').getBoundingClientRect();
        return [box.width, image.width, box.top, image.top, line.width > 0, line.height,
                line.bottom > box.top + box.height / 2];""")
    assert places[0] == pytest.approx(places[1]) and places[2] == pytest.approx(places[3])
    assert places[4] and places[5] > 10 and places[6]
    for css in ('path.band', 'path.rank', 'path.truth', 'path.bad'):
        assert by(shown, f'#plan-1 .photo {css}'), css
    above = shown.execute_script("""
        const box = (css) => document.querySelector('#plan-1 .above ' + css)
            .getBoundingClientRect();
        return ['path.selected', 'path.history', 'path.vehicle', 'path.truth']
            .map((css) => [box(css).top, box(css).bottom]);""")
    selected, history, vehicle, truth = above
    assert selected[0] < vehicle[0] < vehicle[1] <= history[1]
    assert truth[0] < vehicle[0]


def test_the_slider_chooses_the_plan_by_time_and_by_keyboard(shown):
    assert visible_plans(shown) == ['plan-1']
    assert shown.execute_script('return scrollY') == 0  # it opens at its beginning
    slider = shown.find_element('id', 'time')
    # Instants are 0.5 s apart and the third and fourth were refused: 3.1 s is nearest to 3.0 s.
    shown.execute_script("""arguments[0].value = 3100;
        arguments[0].dispatchEvent(new Event('input', {bubbles: true}))""", slider)
    assert visible_plans(shown) == ['plan-5']
    assert slider.get_attribute('value') == '3000'
    assert '3.00 s, plan 5 of 7' in shown.find_element('id', 'now').text
    slider.send_keys('\ue014')  # right arrow
    assert visible_plans(shown) == ['plan-6']
    slider.send_keys('\ue011')  # home
    assert visible_plans(shown) == ['plan-1']
    slider.send_keys('\ue010')  # end
    assert visible_plans(shown) == ['plan-7']
    slider.send_keys('\ue014')
    assert visible_plans(shown) == ['plan-7']
    shown.find_element('id', 'previous').click()
    assert visible_plans(shown) == ['plan-6']
    assert shown.current_url.endswith('#plan-6')
    cursors = shown.execute_script("""return [...document.querySelectorAll('.cursor')]
        .map((line) => line.getAttribute('transform'))""")
    assert len(cursors) > 1 and len(set(cursors)) == 1
    assert chrome.messages(shown) == []


def test_a_click_on_a_chart_or_a_row_chooses_the_plan(shown):
    shown.execute_script("""
        const chart = document.querySelector('.over-time');
        const box = chart.getBoundingClientRect();
        const x = box.left + box.width * (+chart.dataset.right) / chart.viewBox.baseVal.width;
        chart.dispatchEvent(new MouseEvent('click', {clientX: x, clientY: box.top + 5}));""")
    assert visible_plans(shown) == ['plan-7']
    by(shown, '#list tbody tr')[1].find_element('css selector', 'td:nth-child(2)').click()
    assert visible_plans(shown) == ['plan-2']
    assert shown.find_element('css selector', '#list tr.current').get_attribute(
        'data-plan') == 'plan-2'


def test_the_list_sorts_worst_first_by_any_figure(shown, report):
    plans = load_run(report.parent).plans
    assert rows(shown) == [f'plan-{index + 1}' for index in range(7)]

    def expected(name, reverse):
        known = [index for index, record in enumerate(plans) if name in record.figures]
        ordered = sorted(known, key=lambda index: plans[index].figures[name], reverse=reverse)
        return [f'plan-{index + 1}' for index in ordered + [
            index for index in range(len(plans)) if index not in known]]

    def choose(name):
        shown.execute_script("""const select = document.getElementById('metric');
            select.value = arguments[0];
            select.dispatchEvent(new Event('change'))""", name)

    choose('time.decode')  # in no column: it gets one
    assert rows(shown) == expected('time.decode', True)
    assert shown.find_element('id', 'extra').text == 'time: decode, ms'
    choose('diversity_m')
    assert rows(shown) == expected('diversity_m', True)
    assert not shown.find_element('id', 'extra').is_displayed()
    shown.find_element('id', 'best').click()
    assert rows(shown) == expected('diversity_m', False)
    # The end of the drive has no future to compare with: those plans come last either way.
    choose('ade_3s')
    assert rows(shown) == expected('ade_3s', False)
    assert rows(shown)[-2:] == ['plan-6', 'plan-7']
    shown.find_element('id', 'worst').click()
    assert rows(shown) == expected('ade_3s', True)
    choose('agreement')  # less of it is worse; all are alike here, so time decides
    assert rows(shown) == [f'plan-{index + 1}' for index in range(7)]
    shown.find_element('css selector', 'th[data-metric="seconds"]').click()
    assert rows(shown) == [f'plan-{index + 1}' for index in range(7)]
    assert chrome.messages(shown) == []


def test_print_hides_the_controls_and_shows_one_plan_or_all(shown):
    def displayed(css):
        return shown.execute_script("""return [...document.querySelectorAll(arguments[0])]
            .filter((item) => item.getClientRects().length).length""", css)

    assert displayed('.controls') == 2 and displayed('#shown .plan') == 1
    shown.execute_cdp_cmd('Emulation.setEmulatedMedia', {'media': 'print'})
    try:
        assert displayed('.controls') == 0 and displayed('#time') == 0
        assert displayed('#shown .plan') == 1 and displayed('#list tbody tr') == 7
        shown.execute_script("document.getElementById('print-all').click()")
        assert displayed('#shown .plan') == 7
    finally:
        shown.execute_cdp_cmd('Emulation.setEmulatedMedia', {'media': ''})
    assert displayed('#shown .plan') == 1
    assert chrome.print_pdf(shown).startswith(b'%PDF')


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_can_be_read_in_both_colour_schemes(shown, scheme):
    shown.execute_cdp_cmd('Emulation.setEmulatedMedia', {
        'features': [{'name': 'prefers-color-scheme', 'value': scheme}]})
    try:
        colours = shown.execute_script("""
            const of = (item, key) => getComputedStyle(item)[key].match(/[\\d.]+/g).map(Number);
            return [of(document.body, 'color'), of(document.body, 'backgroundColor'),
                    of(document.querySelector('.quiet'), 'color')]""")
    finally:
        shown.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': []})
    ink, paper, quiet = (luminance(colour[:3]) for colour in colours)
    assert (paper > 0.8) == (scheme == 'light')
    assert contrast(ink, paper) > 7 and contrast(quiet, paper) > 4.5


def luminance(rgb):
    parts = [part / 255 for part in rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
              for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, two):
    return (max(one, two) + 0.05) / (min(one, two) + 0.05)


@pytest.mark.parametrize('width', [1366, 800])
def test_nothing_is_wider_than_the_window(shown, width):
    shown.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {
        'width': width, 'height': 768, 'deviceScaleFactor': 1, 'mobile': False})
    try:
        wide = shown.execute_script('return document.documentElement.scrollWidth')
    finally:
        shown.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    assert wide <= width


def test_comparison_opens_with_the_plans_side_by_side(driver, report, tmp_path):
    other = runs.make_run(tmp_path / 'b', plans=9, refused=(2, 3), bias=0.004, seed=1)
    assert cli.main(['compare', str(report.parent), str(other), '--plans', '2', '--rig',
                     str(share_path('config', 'rig.yaml'))]) == 0
    chrome.messages(driver), chrome.requests(driver)
    page = other / 'compare.html'
    chrome.open_page(driver, page)
    assert chrome.messages(driver) == []
    assert chrome.requests(driver) == [page.resolve().as_uri()]
    assert len(by(driver, '.couple')) == 2 and len(by(driver, '.couple .side')) == 4
    assert driver.execute_script("""return [...document.querySelectorAll('.couple img')]
        .filter((image) => image.naturalWidth > 0).length""") == 24
    boxes = driver.execute_script("""return [...document.querySelectorAll('.couple .side')]
        .map((side) => side.getBoundingClientRect()).map((box) => [box.left, box.top])""")
    assert boxes[0][0] < boxes[1][0] and boxes[0][1] == boxes[1][1]
    # Letters are filled, not drawn with the pen of a path.
    assert driver.execute_script("""return [...document.querySelectorAll('text')]
        .filter((text) => getComputedStyle(text).stroke !== 'none').length""") == 0
