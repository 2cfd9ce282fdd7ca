-- The letters of n.name, small and without accents, of the whole of it at once: however a person is spelt, they are the same. What is no letter is
-- listed, because what is one depends on the locale of the store. A thousand characters are name enough.
regexp_replace(
    replace(replace(translate(lower(normalize(left(n.name, 1000), NFKD)), 'ØøŁłĐđı', 'oollddi'), 'æ', 'ae'), 'ß', 'ss'),
    '[\u0001-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u02b0-\u036f\u061c\u115f\u1160\u180e\u2000-\u2bff\u3000-\u303f\ufe00-\ufe0f\ufe30-\ufe4f\ufeff\ufff0-\uffff\U0001f000-\U0001faff]',
    '', 'g'
)
