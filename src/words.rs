//! The word that was meant, where another one was typed: a verb, an option, a field of a `--format`, the key of a filter.

/// The candidate that is nearest to a mistyped word, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &str| {
        let limit = 1 + word.len() / 4;
        let far = distance(word, candidate);
        // A beginning counts as near, however much is missing.
        if word.len() >= 3 && candidate.starts_with(word) { Some(1) } else { Some(far).filter(|far| *far <= limit) }
    };
    candidates.filter_map(|c| near(c).map(|far| (far, c))).min_by_key(|(far, _)| *far).map(|(_, c)| c)
}

/// How many letters have to be put in, left out or exchanged (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ() {
        assert_eq!((distance("", ""), distance("", "abc"), distance("abc", "")), (0, 3, 3));
        assert_eq!((distance("run", "rum"), distance("doktor", "doctor"), distance("añb", "ab")), (1, 1, 1));
    }

    #[test]
    fn the_nearest_of_those_that_are_near() {
        let verbs = ["run", "doctor", "rm", "completion"];
        let near = |word| nearest(word, verbs.into_iter());
        assert_eq!(
            (near("runn"), near("rmm"), near("doktor"), near("comp")),
            (Some("run"), Some("rm"), Some("doctor"), Some("completion"))
        );
        assert_eq!((near("x"), near(""), near("nothing like it")), (None, None, None));
    }
}
